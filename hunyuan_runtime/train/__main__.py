"""``python -m hunyuan_runtime.train STAGE``: one stage of a fine-tune, as process 1 of its container.

Every stage but ``train`` is the module of its name with ``run(config, report)``. It ends as every program of this
package does; a stage that succeeds leaves a :class:`~hunyuan_runtime.train_config.StageReport` as its last message.
"""

import argparse
import importlib
import sys
from collections.abc import Callable

from hunyuan_runtime.config import Port
from hunyuan_runtime.entry import STOPPED, argument_parser, rank_index, read_config, read_rank
from hunyuan_runtime.preflight.names import hurry
from hunyuan_runtime.processes import Children, Stopped, adopt_orphans, stop_on_signals
from hunyuan_runtime.status import StatusServer
from hunyuan_runtime.termination import last_words
from hunyuan_runtime.train_config import Stage, StageReport, TrainConfig, TrainPhase, TrainStatus

PHASES = {
    Stage.CHECK: TrainPhase.CHECKING,
    Stage.TRAIN: TrainPhase.STARTING,
    Stage.MERGE: TrainPhase.MERGING,
    Stage.QUANTIZE: TrainPhase.QUANTIZING,
    Stage.EVALUATE: TrainPhase.EVALUATING,
}


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    stop_on_signals()
    hurry()
    children = Children()
    try:
        status = StatusServer(options.port, TrainStatus(phase=PHASES[options.stage]))

        def report(latest: TrainStatus) -> None:
            status.status = latest

        done = run(options, children, report)
        if done is not None:
            text = done.model_dump_json()
            print(text)  # noqa: T201 - the log of a container
            options.termination_log.write_text(text)
    except Stopped:
        return STOPPED
    except Exception as error:  # a defect of ours must end with a message too
        return last_words(error, rank_index(), options.termination_log)
    finally:
        children.end_all(0)
    return 0


def run(options: argparse.Namespace, children: Children, report: Callable[[TrainStatus], None]) -> StageReport | None:
    """Modules are imported here, so that one that is missing hurts its own stage only, and each pays for its own.

    Raises:
        RuntimeFailure: whatever ends the stage.

    """
    config = read_config(options.config, TrainConfig)
    if options.stage is Stage.TRAIN:
        from hunyuan_runtime.train.launch import Pod  # noqa: PLC0415 - as above

        return Pod(config, read_rank(), options.config, children).run(report)
    stage = importlib.import_module(f"hunyuan_runtime.train.{options.stage.value}")
    done: StageReport = stage.run(config, report)
    return done


def parse_arguments() -> argparse.Namespace:
    parser = argument_parser("hunyuan_runtime.train", __doc__)
    parser.add_argument("stage", type=Stage, choices=list(Stage))
    parser.add_argument("--port", type=int, default=int(Port.STATUS), help="of the status server (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
