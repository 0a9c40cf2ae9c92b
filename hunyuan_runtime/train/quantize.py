"""The stage ``quantize``: ``merged/`` → ``fp8/``, with scales measured on conversations of the training data."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hunyuan_runtime.checkpoint.output import OutputRefused, digest_of, saving
from hunyuan_runtime.pace import Pace
from hunyuan_runtime.quantize import Job, Summary, check_source, quantize
from hunyuan_runtime.quantize.prompts import LONGEST
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.tokenizer import encode_chat
from hunyuan_runtime.train.data.lines import Lines
from hunyuan_runtime.train.data.reading import parse_line
from hunyuan_runtime.train.merge import MERGED
from hunyuan_runtime.train_config import Stage, StageReport, TrainConfig, TrainPhase, TrainStatus

FP8 = "fp8"
PROMPTS = 64
"""Conversations to measure with. All their hidden states lie in memory: 64 of 2,048 tokens are 1.7 GB at a width of
6,400."""

Report = Callable[[TrainStatus], None]


def run(config: TrainConfig, report: Report) -> StageReport:
    """Make ``fp8/`` if it isn't there yet.

    Raises:
        RuntimeFailure: what is wrong with ``merged/`` or the data; ``SpaceInsufficient``, ``SaveFailed``.

    """
    began = time.monotonic()
    source, out = Path(config.output) / MERGED, Path(config.output) / FP8
    report(TrainStatus(phase=TrainPhase.QUANTIZING, message="reading the training data"))
    try:
        check_source(source)
        prompts = prompts_of(Path(config.data_path), source)
        with saving(out):
            made = quantize(Job(source=source, out=out, prompts=prompts, progress=progress_of(report)))
            report(TrainStatus(phase=TrainPhase.QUANTIZING, message="hashing"))
            digest = digest_of(out, {})
    except OutputRefused as refused:
        raise RuntimeFailure(Cause.ConfigInvalid, str(refused)) from refused
    return StageReport(
        stage=Stage.QUANTIZE, model=FP8, digest=digest, message=_message(out, made, time.monotonic() - began)
    )


def prompts_of(data: Path, model: Path) -> list[list[int]]:
    """Conversations from all over the file, in the model's tokens, answers included."""
    lines = Lines(data)
    numbers = range(0, len(lines), max(1, len(lines) // PROMPTS))[:PROMPTS]
    chats = [parse_line(data, number + 1, lines[number]) for number in numbers]
    with tempfile.TemporaryDirectory(prefix="hunyuan-tokenizer-") as scratch:
        tokenizer: Any = AutoTokenizer.from_pretrained(prepare_tokenizer(model, Path(scratch, "tokenizer")))
        return [encode_chat(tokenizer, [dict(message) for message in chat])[:LONGEST] for chat in chats]


def progress_of(report: Report) -> Callable[[str, int, int], None]:
    """Layers are told in words, so that numbers are bytes only."""
    pace = Pace()

    def told(step: str, done: int, total: int) -> None:
        if step == "calibrate":
            report(TrainStatus(phase=TrainPhase.QUANTIZING, message=f"measured {done} of {total} layers"))
            return
        left = pace.progress(done, total, time.monotonic()).remaining_seconds
        report(TrainStatus(phase=TrainPhase.QUANTIZING, done=done, total=total, remaining_seconds=left))

    return told


def _message(out: Path, summary: Summary, seconds: float) -> str:
    size = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    made = f"in {seconds:.0f} s" if summary.made else "by an earlier run"
    worst, error = summary.report["worst_layer"], summary.report["worst_output_error"]
    return (
        f"{size / 1e9:.2f} GB, made {made}; measured on {summary.report['prompts']} conversations, "
        f"worst layer {worst}: output error {error:.2%}"
    )
