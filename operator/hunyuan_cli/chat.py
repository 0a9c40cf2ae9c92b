"""``hunyuan chat``: a conversation with a model that is served, or one question."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from hunyuan_cli.extras import MissingExtra
from hunyuan_cli.reach import Unreachable, reach

if TYPE_CHECKING:
    from hunyuan_cli.endpoint import Endpoint

HELP = "Ctrl-C stops an answer, Ctrl-D ends."


@dataclass
class Conversation:
    """What has been said. ``sampling`` holds only what the user asked for: the server has the model's own defaults."""

    model: str
    sampling: dict[str, Any]
    messages: list[dict[str, str]] = field(default_factory=list)

    async def ask(self, endpoint: "Endpoint", question: str, write: Callable[[str], None]) -> str:
        """The answer, written as it comes. One that is cut short stays in the conversation as far as it came."""
        asked = {"role": "user", "content": question}
        body = {"model": self.model, "messages": [*self.messages, asked], **self.sampling}
        said: list[str] = []
        try:
            async for event in endpoint.chat(body):
                for choice in json.loads(event)["choices"]:
                    if text := choice["delta"].get("content"):
                        said.append(text)
                        write(text)
        finally:
            if said:
                self.messages += [asked, {"role": "assistant", "content": "".join(said)}]
        return "".join(said)


def talk(runner: asyncio.Runner, endpoint: "Endpoint", conversation: Conversation) -> None:
    """Question and answer in turn, until the input ends."""
    from hunyuan_cli.endpoint import EndpointError  # noqa: PLC0415 - needs aiohttp

    with suppress(ImportError):  # line editing and history, where Python has it
        import readline  # noqa: F401, PLC0415 - by being imported
    click.echo(f"{conversation.model} at {endpoint.url}. {HELP}", err=True)
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo(f"\n{HELP}", err=True)
            continue
        if not question:
            continue
        try:
            if not runner.run(_finished(conversation.ask(endpoint, question, _write))):
                click.echo(" [stopped]", err=True)
        except EndpointError as error:
            click.echo(f"hunyuan: {error}", err=True)
        click.echo()


async def _finished(answering: Coroutine[Any, Any, str]) -> bool:
    """Whether the answer came to its end; False when Ctrl-C cut it short.

    The loop's own handler is woken by every signal. Python's is not, if the signal comes just before the loop goes to
    sleep: the answer would go on until its next word.
    """
    task, loop = asyncio.ensure_future(answering), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return False
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    return True


def _write(text: str) -> None:
    click.echo(text, nl=False)


@click.command("chat")
@click.argument("target", metavar="URL|NAME")
@click.argument("question", required=False)
@click.option("-n", "--namespace", default="", help="Of the deployment NAME; default: kubectl's own.")
@click.option("-s", "--system", default="", help="The system prompt.")
@click.option("--temperature", type=click.FloatRange(0), help="Default: the checkpoint's generation_config.json.")
@click.option("--max-tokens", type=click.IntRange(1), help="Of an answer. Default: what the context has room for.")
@click.option("--model", default="", help="Default: the first that the endpoint serves.")
@click.option("--api-key", default="", envvar="OPENAI_API_KEY", help="Or the environment's OPENAI_API_KEY.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; needs a question.")
def chat(  # noqa: PLR0913 - one parameter an option
    *,
    target: str,
    question: str | None,
    namespace: str,
    system: str,
    temperature: float | None,
    max_tokens: int | None,
    model: str,
    api_key: str,
    as_json: bool,
) -> None:
    """Talk to the OpenAI endpoint at URL, or to the HunyuanDeployment NAME (by kubectl port-forward).

    With QUESTION, or with text on stdin, one answer; else a conversation. Exit code 2: no answer, and stderr says why.
    """
    try:
        from hunyuan_cli.endpoint import Endpoint, EndpointError  # noqa: PLC0415 - needs aiohttp
    except ImportError as error:
        raise MissingExtra(error, "client") from error
    if question is None and not sys.stdin.isatty():
        question = sys.stdin.read().strip()
    if as_json and not question:
        raise click.UsageError("--json needs a question")
    wanted = {"temperature": temperature, "max_tokens": max_tokens}
    sampling = {name: value for name, value in wanted.items() if value is not None}
    try:
        with reach(target, namespace) as url, asyncio.Runner() as runner:
            endpoint = Endpoint(url, api_key)
            runner.run(endpoint.__aenter__())
            try:
                conversation = Conversation(model or runner.run(endpoint.model()), sampling)
                conversation.messages += [{"role": "system", "content": system}] if system else []
                if question:
                    answer = runner.run(conversation.ask(endpoint, question, _ignore if as_json else _write))
                    click.echo(json.dumps({"model": conversation.model, "answer": answer}) if as_json else "")
                else:
                    talk(runner, endpoint, conversation)
            finally:
                runner.run(endpoint.__aexit__())
    except (EndpointError, Unreachable) as error:
        click.echo(f"hunyuan: {error}", err=True)
        sys.exit(2)


def _ignore(_: str) -> None: ...
