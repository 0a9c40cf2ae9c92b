"""The stage ``check``: everything that can be known to fail is refused before a GPU is asked for.

In this order, what is quick first: files exist, the base model can be tuned as asked, the results have room, and every
line of the data can be trained on.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.base_model import BaseModel, open_base
from hunyuan_runtime.train.data.encoding import ChatEncoder
from hunyuan_runtime.train.data.inspection import Inspection, inspect, refuse_faulty, report_of, summary_of
from hunyuan_runtime.train.data.lines import check_file
from hunyuan_runtime.train.space import check_space, needs_of
from hunyuan_runtime.train_config import Stage, StageReport, TrainConfig, TrainPhase, TrainStatus

REPORT = "data-report.json"


def run(config: TrainConfig, report: Callable[[TrainStatus], None]) -> StageReport:
    """Check all, and leave the data's figures in ``<output>/data-report.json``.

    Raises:
        RuntimeFailure: the message says what to change, and where.

    """
    output = Path(config.output)
    files = {"train": Path(config.data_path)}
    if config.evaluation_path:
        files["evaluation"] = Path(config.evaluation_path)
    for file in files.values():
        check_file(file)
    report(TrainStatus(phase=TrainPhase.CHECKING, message="base model"))
    with tempfile.TemporaryDirectory(prefix="hunyuan-tokenizer-") as scratch:
        base = open_base(Path(config.model_path), Path(scratch, "tokenizer"))
    make_writable(output)
    check_space(needs_of(config, base.tensors), output)
    found = {name: _inspected(file, config, base, report) for name, file in files.items()}
    _write(output / REPORT, {name: report_of(inspection) for name, inspection in found.items()})
    return StageReport(
        stage=Stage.CHECK,
        examples=len(found["train"].lengths),
        tokens=found["train"].tokens,
        message="; ".join(f"{name}: {summary_of(inspection)}" for name, inspection in found.items()),
    )


def _inspected(file: Path, config: TrainConfig, base: BaseModel, report: Callable[[TrainStatus], None]) -> Inspection:
    def progress(done: int, total: int) -> None:
        report(TrainStatus(phase=TrainPhase.CHECKING, done=done, total=total, message=f"lines of {file}"))

    found = inspect(file, ChatEncoder(base.tokenizer), config.training.max_seq_length, progress)
    refuse_faulty(found)
    return found


def make_writable(output: Path) -> None:
    """Make the folder if need be, and write something; raise ``SaveFailed`` where that can't be."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output) as file:
            file.write(b"\0")
    except OSError as error:
        raise _save_failed(output, error) from error


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _save_failed(path, error) from error


def _save_failed(path: Path, error: OSError) -> RuntimeFailure:
    return RuntimeFailure(Cause.SaveFailed, f"{path} can't be written as user {os.getuid()}: {error.strerror}")
