"""The training loop of one rank: DeepSpeed does the step, this says what a step is.

Everything that a step depends on is a function of its number: examples, rate, and the random numbers of dropout. So a
run that is resumed does what it would have done, and on other numbers of ranks the same examples still make each step.

The loss of a step is the mean over all tokens trained on in it, on whatever rank and in whatever micro-batch they are.
DeepSpeed averages over ranks and micro-batches, so each part is the sum over its tokens, times their number, by all.
"""

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist

from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.processes import Stopped
from hunyuan_runtime.serve.checkpoint import check_folder
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train import flops, saving
from hunyuan_runtime.train.base_model import check_supported, load_tokenizer
from hunyuan_runtime.train.batches import Batch, batch_of
from hunyuan_runtime.train.checkpoints import FOLDER, Manifest
from hunyuan_runtime.train.data import TrainingData, collate
from hunyuan_runtime.train.data.encoding import IGNORED
from hunyuan_runtime.train.deepspeed_json import deepspeed_json, offloads_optimizer
from hunyuan_runtime.train.model import load_model
from hunyuan_runtime.train.optimizer import Group, groups_of, learning_rate, make_optimizer, set_rates
from hunyuan_runtime.train.progress import Progress, Step
from hunyuan_runtime.train.rendezvous import Seat, patient
from hunyuan_runtime.train_config import DEEPSPEED_PATH, Stage, StageReport, TrainConfig, TrainPhase, TrainStatus


@dataclass(frozen=True)
class Micro:
    """A micro-batch on the device, the position of its first example, and its tokens: trained on, and all real ones."""

    first: int
    inputs: dict[str, torch.Tensor]
    wanted: int
    tokens: int


@dataclass(kw_only=True)
class Training:
    """One rank of a run, ready to step."""

    config: TrainConfig
    seat: Seat
    engine: Any
    groups: list[Group]
    batch: Batch
    data: TrainingData
    pad_id: int
    work: flops.Work
    tokens: int
    progress: Progress | None
    stopping: Callable[[], bool]
    """Whether this rank was asked to end."""

    def run(self, start: int) -> StageReport:
        """All steps behind ``start``.

        Raises:
            RuntimeFailure: ``LossNotFinite``, ``SaveFailed``.
            Stopped: some rank was asked to end; a checkpoint has been made.

        """
        training, step = self.config.training, None
        self.engine.train()
        for number in range(start, training.max_steps):
            step, stop = self._step(number)
            self._tell(step)
            if stop or step.step % training.save_steps == 0 or step.step == training.max_steps:
                self._save(step)
            if stop and step.step < training.max_steps:
                raise Stopped("SIGTERM")
        assert step is not None, "a run without steps left isn't started"
        return report_of(step.step, step.loss, self.tokens)

    def _step(self, number: int) -> tuple[Step, bool]:
        began, rate = time.monotonic(), learning_rate(number, self.config.training)
        micros = list(self._micros(number))
        wanted, tokens, context = self._sum(
            sum(micro.wanted for micro in micros),
            sum(micro.tokens for micro in micros),
            sum(micro.tokens**2 for micro in micros) / 2,
        )
        set_rates(self.engine.optimizer.param_groups, self.groups, rate)
        parts = self.batch.ranks * self.batch.accumulation
        total = torch.zeros((), device=self.seat.device)
        for micro in micros:
            torch.manual_seed(seed_of(self.config.training.seed, micro.first))
            loss = self.engine(**micro.inputs, use_cache=False, num_items_in_batch=1).loss
            self.engine.backward(loss * (parts / max(wanted, 1)))
            self.engine.step()
            total += loss.detach()
        summed, stop = self._sum(total.item(), float(self.stopping()))
        seconds, norm = time.monotonic() - began, float(self.engine.get_global_grad_norm() or 0.0)
        step = Step(
            step=number + 1,
            loss=summed / max(wanted, 1),
            learning_rate=rate,
            grad_norm=norm,
            tokens=round(tokens),
            seconds=seconds,
            tokens_per_second=tokens / seconds,
            mfu=self._mfu(tokens, context, seconds),
        )
        self.tokens += step.tokens
        check_finite(step)
        return step, stop > 0

    def _micros(self, step: int) -> Iterator[Micro]:
        for positions in self.batch.positions(step, self.seat.rank):
            examples = [self.data.example(position) for position in positions]
            inputs = {name: value.to(self.seat.device) for name, value in collate(examples, self.pad_id).items()}
            yield Micro(
                first=positions[0],
                inputs=inputs,
                wanted=int((inputs["labels"][:, 1:] != IGNORED).sum()),
                tokens=sum(len(example.input_ids) for example in examples),
            )

    def _sum(self, *values: float) -> list[float]:
        """Over all ranks."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.seat.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def _mfu(self, tokens: float, context: float, seconds: float) -> float | None:
        if self.seat.device.type != "cuda":
            return None
        peak = flops.peak_of(torch.cuda.get_device_name(self.seat.device))
        done = flops.step_flops(self.work, tokens, context / max(tokens, 1), frozen=self.config.method == "lora")
        return None if peak is None else done / seconds / (peak * self.seat.ranks)

    def _tell(self, step: Step) -> None:
        if self.progress is None:
            return
        self.progress.tell(step)
        if step.step % self.config.training.logging_steps == 0 or step.step == self.config.training.max_steps:
            self.progress.note(step)

    def _save(self, step: Step) -> None:
        if self.progress is not None:
            self.progress.update(phase=TrainPhase.SAVING)
        manifest = Manifest(
            step=step.step,
            world_size=self.seat.ranks,
            batch=self.batch.whole,
            tokens=self.tokens,
            loss=step.loss,
            files={},
        )
        with patient(self.config):
            saving.save(self.engine, Path(self.config.output, FOLDER), manifest, self.config.keep_checkpoints)
        if self.progress is not None:
            self.progress.update(phase=TrainPhase.TRAINING, checkpoint=step.step, message="")


def train(
    config: TrainConfig, seat: Seat, report: Callable[[TrainStatus], None], stopping: Callable[[], bool]
) -> StageReport:
    """Resume where the newest good checkpoint is, or begin; the ranks have met.

    Raises:
        RuntimeFailure: whatever ends the run.
        Stopped: as :meth:`Training.run`.

    """
    root = Path(config.output, FOLDER)
    with patient(config):
        manifest, damaged = saving.newest(root)
    if manifest is not None and manifest.step >= config.training.max_steps:
        return report_of(manifest.step, manifest.loss, manifest.tokens)
    message = "; ".join(f"not used: {words}" for words in damaged)
    if message and seat.rank == 0:
        print(message, flush=True)  # noqa: T201 - the log of a container
    report(TrainStatus(phase=TrainPhase.STARTING, total=config.training.max_steps, message=message))
    with patient(config):
        training = prepare(config, seat, manifest, stopping)
    start = 0 if manifest is None else manifest.step
    if seat.rank == 0:
        training.progress = Progress(Path(config.output), start, config.training.max_steps, report)
        training.progress.update(message=message)
    try:
        return training.run(start)
    finally:
        if training.progress is not None:
            training.progress.close()


def prepare(config: TrainConfig, seat: Seat, manifest: Manifest | None, stopping: Callable[[], bool]) -> Training:
    """Model, engine and data, with the state of the checkpoint if there is one."""
    folder = Path(config.model_path)
    check_folder(folder)
    check_supported(folder)
    architecture = HunYuanConfig.from_pretrained(folder)
    batch = batch_of(config, None if manifest is None else manifest.batch)
    plan = deepspeed_json(config, batch, architecture.hidden_size, own_json(config))
    if manifest is not None and manifest.world_size != seat.ranks:
        plan["checkpoint"] = {**plan.get("checkpoint", {}), "load_universal": True}
    with tempfile.TemporaryDirectory(prefix="hunyuan-tokenizer-") as scratch:
        tokenizer = load_tokenizer(folder, Path(scratch, "tokenizer"), architecture.vocab_size)
    training = config.training
    data = TrainingData(
        Path(config.data_path), tokenizer, training.max_seq_length, packing=training.packing, seed=training.seed
    )
    model, living = load_model(config, plan)
    groups = groups_of(model.named_parameters(), training)
    optimizer = make_optimizer(groups, training.learning_rate, offloaded=offloads_optimizer(plan))
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=plan, dist_init_required=False)
    engine.transformers_config = living
    if manifest is not None:
        saving.load(engine, Path(config.output, FOLDER), manifest)
    return Training(
        config=config,
        seat=seat,
        engine=engine,
        groups=groups,
        batch=batch,
        data=data,
        pad_id=tokenizer.pad_token_id,
        work=flops.work_of(architecture),
        tokens=0 if manifest is None else manifest.tokens,
        progress=None,
        stopping=stopping,
    )


def own_json(config: TrainConfig) -> dict[str, Any] | None:
    """The user's DeepSpeed JSON, if there is one.

    Raises:
        RuntimeFailure: ``ConfigInvalid``.

    """
    if not config.deepspeed.own:
        return None
    try:
        own = json.loads(Path(DEEPSPEED_PATH).read_text())
    except (OSError, ValueError) as error:
        raise RuntimeFailure(Cause.ConfigInvalid, f"DeepSpeed's configuration {DEEPSPEED_PATH}: {error}") from error
    if not isinstance(own, dict):
        raise RuntimeFailure(Cause.ConfigInvalid, f"DeepSpeed's configuration {DEEPSPEED_PATH} is not a JSON object")
    return own


def seed_of(seed: int, position: int) -> int:
    """Of the random numbers for the micro-batch at a position of the data: the same whoever computes it."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{position}".encode(), digest_size=7).digest(), "big")


def check_finite(step: Step) -> None:
    """Raise.

    Raises:
        RuntimeFailure: ``LossNotFinite``.

    """
    if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
        raise RuntimeFailure(
            Cause.LossNotFinite,
            f"step {step.step}: loss {step.loss}, learning rate {step.learning_rate:.3g}, gradient norm "
            f"{step.grad_norm}; a lower rate or a longer warm-up helps most often",
        )


def report_of(step: int, loss: float, tokens: int) -> StageReport:
    message = f"{step} steps over {tokens} tokens, loss {loss:.4f}"
    return StageReport(stage=Stage.TRAIN, steps=step, loss=loss, tokens=tokens, message=message)
