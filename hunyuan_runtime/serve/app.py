"""The Ray Serve deployment: one replica that holds vLLM's engine and the front door.

The constructor does next to nothing; :meth:`Engine.load` is called through the deployment's handle. So Serve sees a
replica that is up at once, never restarts one that is loading, and the caller gets the load's own exception.
"""

import asyncio
import contextlib
import io
import os
from pathlib import Path
from typing import Any

import ray
from ray import serve

from hunyuan_runtime.serve.front import Door, Loop, bind
from hunyuan_runtime.serve.load_progress import HEAD_VARIABLE
from hunyuan_runtime.termination import Cause, RuntimeFailure

APPLICATION = "hunyuan"
LINGER = 5.0
"""Seconds until every node's kube-proxy surely knows that the leader has left the Service."""


@serve.deployment(
    graceful_shutdown_timeout_s=1,
    logging_config={"enable_access_log": False, "log_level": "WARNING"},
)
class Engine:
    def __init__(self) -> None:
        self._loop = Loop()

    async def load(self, arguments: list[str], port: int) -> None:
        """Start the engine and open the front door.

        Raises:
            RuntimeFailure: ``ConfigInvalid``: vLLM refuses an argument; ``CheckpointInvalid``: the model is none of
                ours; ``EngineFailed``: anything later.

        """
        await self._loop.run(self._load(arguments, port))

    async def drain(self) -> None:
        """Close the front door, and return when every request that came in has had its whole answer.

        It stays open for ``LINGER`` seconds, since clients learn only by and by that they have to go elsewhere.
        """
        await self._loop.run(self._drain())

    async def _drain(self) -> None:
        self._door.send_away()
        await asyncio.sleep(LINGER)
        await self._door.close()

    async def _load(self, arguments: list[str], port: int) -> None:
        try:
            listener = bind(port)
        except OSError as error:
            raise RuntimeFailure(Cause.EngineFailed, f"port {port} can't be had: {error}") from error
        # vLLM's engine core, a process of its own, would else look for a Ray at its default place and start a new one.
        os.environ[HEAD_VARIABLE] = ray.get_runtime_context().gcs_address
        args = parse(arguments)
        from hunyuan_runtime.serve.architecture import check_architecture  # noqa: PLC0415 - imports torch

        check_architecture(Path(args.model))
        from vllm.entrypoints.launchers.api_server.app_state import init_app_state  # noqa: PLC0415 - only in the replica
        from vllm.entrypoints.launchers.api_server.entry import (  # noqa: PLC0415 - likewise
            build_async_engine_client_from_engine_args,
        )
        from vllm.entrypoints.launchers.app import build_app  # noqa: PLC0415 - likewise
        from vllm.utils.system_utils import set_ulimit  # noqa: PLC0415 - likewise

        set_ulimit()  # thousands of streams are thousands of files

        # The context is never left: the engine lives as long as the process.
        self._context = build_async_engine_client_from_engine_args(engine_arguments_of(args))
        try:
            engine = await self._context.__aenter__()
            tasks = await engine.get_supported_tasks()
            app = build_app(args, tasks, engine.model_config)
            await init_app_state(engine, app.state, args, tasks)
            self._door = Door(app, listener)
            await self._door.open()
        except Exception as error:
            raise RuntimeFailure(Cause.EngineFailed, f"the engine didn't start: {error}") from error


def parse(arguments: list[str]) -> Any:
    """What vLLM's parser makes of the argument list.

    Raises:
        RuntimeFailure: ``ConfigInvalid`` with the parser's own words.

    """
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args  # noqa: PLC0415 - slow
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415 - slow

    parser = make_arg_parser(FlexibleArgumentParser(prog="engine.extraArgs", usage="", allow_abbrev=False))
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = parser.parse_args(arguments)
        validate_parsed_serve_args(args)
    except SystemExit:
        raise RuntimeFailure(Cause.ConfigInvalid, said.getvalue().strip().splitlines()[-1]) from None
    except (TypeError, ValueError) as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"engine.extraArgs: {error}") from error
    return args


def engine_arguments_of(args: Any) -> Any:
    """vLLM's engine arguments, after its own checks of how they go together and with the checkpoint's config.json."""
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - slow
    from vllm.usage.usage_lib import UsageContext  # noqa: PLC0415 - slow

    engine_args = AsyncEngineArgs.from_cli_args(args)
    try:
        engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"the engine refuses its configuration: {error}") from error
    return engine_args
