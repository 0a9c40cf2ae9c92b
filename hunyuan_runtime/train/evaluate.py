"""The stage ``evaluate``: the tuned model on the held-out file, by the engine that will serve it.

The engine gets each conversation twice: whole, for the likelihood of its answers, and up to its last answer, which it
then gives greedily. Likelihoods are means over the tokens that a training would train on, as the training's loss is.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from hunyuan_runtime.checkpoint.headers import weight_files
from hunyuan_runtime.checkpoint.output import saving, write_json
from hunyuan_runtime.model import HunYuanConfig
from hunyuan_runtime.serve.checkpoint import check_config, check_folder, check_weights
from hunyuan_runtime.serve.engine_args import CPU_KV_CACHE_BYTES
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.tokenizer import encode_chat
from hunyuan_runtime.train.data import ChatEncoder, Message, conversations
from hunyuan_runtime.train.data.encoding import IGNORED
from hunyuan_runtime.train.merge import MERGED
from hunyuan_runtime.train.quantize import FP8
from hunyuan_runtime.train.scoring import Answer, accuracy, field_accuracy
from hunyuan_runtime.train_config import Stage, StageReport, TrainConfig, TrainPhase, TrainStatus

REPORT = "evaluation.json"
BATCH = 64
"""Conversations between two reports of progress."""
MARGIN = 32
"""Tokens that an answer may have beyond twice the expected one's: enough to see what the model says instead."""

Report = Callable[[TrainStatus], None]


@dataclass(frozen=True, kw_only=True)
class Example:
    """``ids`` and ``labels`` of the whole, ``asked`` is the conversation up to its last answer."""

    line: int
    ids: list[int]
    labels: list[int]
    asked: list[int]
    expected: str

    @property
    def budget(self) -> int:
        return 2 * (len(self.ids) - len(self.asked)) + MARGIN


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one example: the sum over ``tokens`` of the negative log likelihoods, and what the model said."""

    answer: Answer
    loss: float
    tokens: int


def run(config: TrainConfig, report: Report) -> StageReport:
    """Evaluate the last model that was made, and leave each answer in ``<output>/evaluation.json``.

    Raises:
        RuntimeFailure: what is wrong with the model or the file; ``GpuMemoryExhausted``, ``EngineFailed``,
            ``SaveFailed``.

    """
    began = time.monotonic()
    model = model_of(config, on_cpu=_on_cpu())
    with tempfile.TemporaryDirectory(prefix="hunyuan-tokenizer-") as scratch:
        tokenizer = prepare_tokenizer(model, Path(scratch, "tokenizer"))
        examples = list(examples_of(Path(config.evaluation_path), AutoTokenizer.from_pretrained(tokenizer)))
        if not examples:
            raise RuntimeFailure(Cause.DataInvalid, f"{config.evaluation_path} is empty: it holds no conversation")
        report(TrainStatus(phase=TrainPhase.EVALUATING, total=len(examples), message="starting the engine"))
        engine = Engine(config, model, tokenizer, examples)
        outcomes: list[Outcome] = []
        for start in range(0, len(examples), BATCH):
            outcomes += engine.outcomes(examples[start : start + BATCH])
            report(TrainStatus(phase=TrainPhase.EVALUATING, done=len(outcomes), total=len(examples)))
    done = summary(outcomes, model.name, time.monotonic() - began)
    write(Path(config.output) / REPORT, done, [outcome.answer for outcome in outcomes])
    return done


def _on_cpu() -> bool:
    return os.environ.get("HUNYUAN_DEVICE") == "cpu"


def model_of(config: TrainConfig, *, on_cpu: bool) -> Path:
    """The quantised model, where it was made and the device can run it."""
    output = Path(config.output)
    model = output / (FP8 if config.quantize == "fp8" and not on_cpu else MERGED)
    check_folder(model)
    check_config(model)
    check_weights(model)
    return model


def examples_of(file: Path, tokenizer: Any) -> Iterator[Example]:
    encoder = ChatEncoder(tokenizer)
    for line, messages in conversations(file):
        [encoded] = encoder.encode([messages])
        asked: list[Message] = messages[:-1]
        yield Example(
            line=line,
            ids=encoded.input_ids,
            labels=encoded.labels,
            asked=encode_chat(tokenizer, asked, add_generation_prompt=True),
            expected=messages[-1]["content"],
        )


class Engine:
    """vLLM in this process, on all of the pod's GPUs."""

    def __init__(self, config: TrainConfig, model: Path, tokenizer: Path, examples: Sequence[Example]) -> None:
        if _on_cpu():
            os.environ["TORCHDYNAMO_DISABLE"] = "1"  # it would compile, and the image holds no compiler
        from vllm import LLM  # noqa: PLC0415 - slow, and only here

        self._longest = HunYuanConfig.from_pretrained(model).max_position_embeddings
        wanted = max(len(example.ids) + example.budget for example in examples)
        options: dict[str, Any] = {
            "tokenizer": str(tokenizer),
            "tokenizer_mode": "hunyuan",
            "dtype": "bfloat16",  # as it will be served
            "max_model_len": min(wanted, self._longest),
            "max_num_seqs": BATCH,
            "seed": 0,
        }
        if _on_cpu():
            options |= {"enforce_eager": True, "kv_cache_memory_bytes": CPU_KV_CACHE_BYTES}
        else:
            options["tensor_parallel_size"] = config.gpus_per_node
            check_memory(model, config.gpus_per_node)
        try:
            self._llm: Any = LLM(str(model), **options)
        except Exception as error:  # vLLM raises what its parts raise
            raise RuntimeFailure(Cause.EngineFailed, f"the engine didn't start: {error}") from error

    def outcomes(self, examples: Sequence[Example]) -> list[Outcome]:
        from vllm import SamplingParams  # noqa: PLC0415 - as above

        likelihood = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": ids} for example in examples for ids in (example.ids, example.asked)]
        sampling = [
            params
            for example in examples
            for params in (
                likelihood,
                SamplingParams(temperature=0, max_tokens=min(example.budget, self._longest - len(example.asked))),
            )
        ]
        try:
            answers = self._llm.generate(prompts, sampling, use_tqdm=False)
        except Exception as error:  # as above
            raise RuntimeFailure(Cause.EngineFailed, f"the engine failed: {error}") from error
        pairs = zip(answers[::2], answers[1::2], strict=True)
        return [outcome_of(example, *pair) for example, pair in zip(examples, pairs, strict=True)]


def outcome_of(example: Example, whole: Any, answered: Any) -> Outcome:
    """``whole`` and ``answered`` are vLLM's outputs."""
    trained = [index for index, label in enumerate(example.labels) if label != IGNORED]
    loss = -sum(whole.prompt_logprobs[index][example.ids[index]].logprob for index in trained)
    answer = Answer(line=example.line, expected=example.expected, got=answered.outputs[0].text)
    return Outcome(answer=answer, loss=loss, tokens=len(trained))


def check_memory(model: Path, gpus: int) -> None:
    """Raise ``GpuMemoryExhausted`` before minutes of loading what can't fit."""
    from vllm.platforms import current_platform  # noqa: PLC0415 - as above

    size = sum(file.stat().st_size for file in weight_files(model)[0])
    memory = gpus * current_platform.get_device_total_memory()
    if size > memory:
        raise RuntimeFailure(
            Cause.GpuMemoryExhausted,
            f"{model} has {size / 1e9:.0f} GB, the {gpus} GPUs of a pod {memory / 1e9:.0f} GB: quantise it to fp8, or "
            "leave out the evaluation",
        )


def summary(outcomes: Sequence[Outcome], model: str, seconds: float) -> StageReport:
    answers = [outcome.answer for outcome in outcomes]
    loss = sum(outcome.loss for outcome in outcomes) / sum(outcome.tokens for outcome in outcomes)
    exact, fields = accuracy(answers), field_accuracy(answers)
    by_field = "" if fields is None else f", {fields:.1%} of the fields"
    matched = sum(answer.match for answer in answers)
    return StageReport(
        stage=Stage.EVALUATE,
        examples=len(answers),
        model=model,
        loss=loss,
        accuracy=exact,
        field_accuracy=fields,
        message=f"{model}: {matched} of {len(answers)} answers exact{by_field}, loss {loss:.4f}, in {seconds:.0f} s",
    )


def write(path: Path, done: StageReport, answers: Sequence[Answer]) -> None:
    figures = done.model_dump(include={"model", "examples", "loss", "accuracy", "field_accuracy"})
    with saving(path):
        write_json(path, figures | {"answers": [asdict(answer) | {"match": answer.match} for answer in answers]})
