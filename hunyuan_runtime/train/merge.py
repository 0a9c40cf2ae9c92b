"""The stage ``merge``: the last checkpoint → ``adapter/`` (LoRA) and ``merged/``, folders that any loader takes."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from hunyuan_runtime.checkpoint.output import OutputRefused
from hunyuan_runtime.merge import Change, Job, Merged, ZeroCheckpoint, make_adapter, merge
from hunyuan_runtime.pace import Pace
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import checkpoints
from hunyuan_runtime.train.checkpoints import CheckpointDamaged, Manifest
from hunyuan_runtime.train_config import MANIFEST, Stage, StageReport, TrainConfig, TrainPhase, TrainStatus

MERGED = "merged"
ADAPTER = "adapter"

Report = Callable[[TrainStatus], None]


def run(config: TrainConfig, report: Report) -> StageReport:
    """Make what isn't there yet.

    Raises:
        RuntimeFailure: ``CheckpointInvalid``, ``SpaceInsufficient``, ``SaveFailed``, or what is wrong with the base;
            ``ConfigInvalid`` where the output holds another training's result.

    """
    began = time.monotonic()
    output = Path(config.output)
    report(TrainStatus(phase=TrainPhase.MERGING, message="reading the last checkpoint"))
    try:
        change = change_of(config, last_checkpoint(config))
        done = StageReport(stage=Stage.MERGE, message="an adapter alone, as asked for")
        if config.method == "lora":
            done = done.model_copy(update={"adapter": ADAPTER, "adapter_digest": change.made_of})
        if not config.merge:
            return done
        merged = merge(
            Job(
                base=Path(config.model_path),
                change=change,
                out=output / MERGED,
                dtype=config.merge_dtype,
                progress=progress_of(report),
            )
        )
    except OutputRefused as refused:
        raise RuntimeFailure(Cause.ConfigInvalid, str(refused)) from refused
    message = _message(merged, config, time.monotonic() - began)
    return done.model_copy(update={"model": MERGED, "digest": merged.digest, "message": message})


def last_checkpoint(config: TrainConfig) -> Path:
    """The folder of the training's end, each of whose files is what was written.

    Raises:
        RuntimeFailure: ``CheckpointInvalid``.

    """
    root = Path(config.output) / checkpoints.FOLDER
    usable, damaged = checkpoints.candidates(root)
    last = usable[0] if usable else None
    if last is None or last.step != config.training.max_steps:
        found = f"the newest is of step {last.step}" if last else "there is none"
        why = "; ".join([found, *damaged])
        raise RuntimeFailure(
            Cause.CheckpointInvalid, f"{root} has no complete checkpoint of step {config.training.max_steps}: {why}"
        )
    folder = root / checkpoints.folder_name(last.step)
    try:
        checkpoints.check_hashes(folder, last, _weights(last))
    except CheckpointDamaged as damage:
        raise RuntimeFailure(Cause.CheckpointInvalid, str(damage)) from damage
    return folder


def _weights(manifest: Manifest) -> list[str]:
    return [name for name in manifest.files if name.endswith("_states.pt")]


def change_of(config: TrainConfig, checkpoint: Path) -> Change:
    trained = ZeroCheckpoint(checkpoint, made_of=hashlib.sha256((checkpoint / MANIFEST).read_bytes()).hexdigest())
    if config.method != "lora":
        return trained
    lora = config.lora
    return make_adapter(
        Path(config.output) / ADAPTER,
        trained,
        r=lora.rank,
        lora_alpha=int(lora.alpha) if float(lora.alpha).is_integer() else lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(lora.targets),
        base_model_name_or_path=config.model_path,
    )


def progress_of(report: Report) -> Callable[[int, int], None]:
    pace = Pace()

    def told(done: int, total: int) -> None:
        progress = pace.progress(done, total, time.monotonic())
        report(
            TrainStatus(phase=TrainPhase.MERGING, done=done, total=total, remaining_seconds=progress.remaining_seconds)
        )

    return told


def _message(merged: Merged, config: TrainConfig, seconds: float) -> str:
    made = f"in {seconds:.0f} s" if merged.made else "by an earlier run"
    return f"{merged.size / 1e9:.2f} GB in {config.merge_dtype}, made {made}"
