"""What rank 0 tells of a run."""

import json
from pathlib import Path

import pytest

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.progress import METRICS, TENSORBOARD, Progress, Step, keep_until
from hunyuan_runtime.train_config import TrainPhase, TrainStatus


def step(number: int) -> Step:
    return Step(
        step=number,
        loss=1.0 / number,
        learning_rate=1e-3,
        grad_norm=0.5,
        tokens=100,
        seconds=2.0,
        tokens_per_second=50.04,
    )


def told(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (path / METRICS).read_text().splitlines()]


def test_status_follows_the_steps(tmp_path: Path) -> None:
    heard: list[TrainStatus] = []
    progress = Progress(tmp_path, 0, 4, heard.append)
    progress.tell(step(1))
    progress.update(phase=TrainPhase.SAVING)
    progress.close()
    assert heard[0] == TrainStatus(phase=TrainPhase.TRAINING, total=4)
    assert heard[1].model_copy(update={"remaining_seconds": None}) == TrainStatus(
        phase=TrainPhase.TRAINING, done=1, total=4, loss=1.0, learning_rate=1e-3, tokens_per_second=50.0
    )
    assert heard[1].remaining_seconds is not None
    assert (heard[2].phase, heard[2].done) == (TrainPhase.SAVING, 1)


def test_a_resumed_run_takes_back_what_was_told_of_later_steps(tmp_path: Path) -> None:
    first = Progress(tmp_path, 0, 4, lambda _: None)
    for number in (1, 2, 3):
        first.note(step(number))
    first.close()
    second = Progress(tmp_path, 2, 4, lambda _: None)
    second.note(step(3))
    second.close()
    assert told(tmp_path) == [1, 2, 3]
    assert second.status.checkpoint == 2
    assert list((tmp_path / TENSORBOARD).iterdir())


def test_a_line_that_a_kill_cut_short_goes(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text('{"step": 1}\n{"step": 2}\n{"step"')
    keep_until(path, 5)
    assert told(tmp_path) == [1, 2]
    keep_until(path, 1)
    assert told(tmp_path) == [1]


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("a file")
    with pytest.raises(RuntimeFailure, match=f"{tmp_path}/output: File exists") as failure:
        Progress(tmp_path / "output", 0, 4, lambda _: None)
    assert failure.value.cause is Cause.SaveFailed
