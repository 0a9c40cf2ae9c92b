"""The stage check: what it refuses, in which words, and what it leaves behind when all is well."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hunyuan_runtime.termination import Cause, RuntimeFailure, TerminationMessage
from hunyuan_runtime.train import check
from hunyuan_runtime.train_config import Stage, TrainConfig, TrainPhase, TrainStatus
from tests.unit.train_data.conversations import assistant, line, numbered, user, write


class Scene:
    """A model, a good training file, and an output folder; a test spoils one of them."""

    def __init__(self, root: Path, base: Path) -> None:
        self.root = root
        self.model = root / "model"
        self.data = write(root / "data/train.jsonl", *numbered(400))
        self.output = root / "output/car"
        shutil.copytree(base, self.model)

    def config(self, **changes: Any) -> TrainConfig:
        training = {"max_steps": 10, "save_steps": 5, "max_seq_length": 256, **changes.pop("training", {})}
        values: dict[str, Any] = {
            "name": "car",
            "model_path": str(self.model),
            "data_path": str(self.data),
            "output": str(self.output),
            "nodes": 2,
            "gpus_per_node": 1,
            "training": training,
        }
        return TrainConfig.model_validate(values | changes)

    def edit(self, name: str, **changes: Any) -> None:
        path = self.model / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def spoil(self, number: int, text: str | bytes) -> None:
        lines = self.data.read_bytes().split(b"\n")
        lines[number - 1] = text if isinstance(text, bytes) else text.encode()
        self.data.write_bytes(b"\n".join(lines))


@pytest.fixture
def scene(tmp_path: Path, base_model: Path) -> Scene:
    (tmp_path / "data").mkdir()
    return Scene(tmp_path, base_model)


def refusal(config: TrainConfig) -> tuple[Cause, str]:
    with pytest.raises(RuntimeFailure) as failure:
        check.run(config, lambda _: None)
    return failure.value.cause, str(failure.value)


def test_a_good_file_is_counted(scene: Scene) -> None:
    seen: list[TrainStatus] = []
    report = check.run(scene.config(), seen.append)
    figures = json.loads((scene.output / "data-report.json").read_text())["train"]
    assert (report.stage, report.examples) == (Stage.CHECK, 400)
    assert report.tokens == figures["tokens"]
    assert report.message == (
        f"train: 400 examples, 400 answers, {report.tokens} tokens of which {figures['trained_tokens']} are trained on"
        "; lengths 5 to 153, median 78, p90 138, p99 153"
    )
    assert figures["lengths"] == {"min": 5, "p50": 78, "p90": 138, "p99": 153, "max": 153}
    assert sum(bucket["examples"] for bucket in figures["histogram"]) == 400
    assert [bucket["up_to"] for bucket in figures["histogram"]] == [8, 16, 32, 64, 128, 256]
    assert {status.phase for status in seen} == {TrainPhase.CHECKING}
    assert (seen[-1].done, seen[-1].total) == (400, 400)


def test_the_evaluation_file_is_checked_and_counted_likewise(scene: Scene) -> None:
    held_out = write(scene.root / "data/test.jsonl", *numbered(5))
    report = check.run(scene.config(evaluation_path=str(held_out)), lambda _: None)
    assert "; evaluation: 5 examples" in report.message
    figures = json.loads((scene.output / "data-report.json").read_text())
    assert (figures["train"]["examples"], figures["evaluation"]["examples"]) == (400, 5)
    write(held_out, '{"input": "a", "label": "b"}')
    cause, message = refusal(scene.config(evaluation_path=str(held_out)))
    assert cause is Cause.DataInvalid
    assert message == (
        f"{held_out}: 1 of 1 lines can't be used: line 1: no \"messages\"; its keys are 'input', 'label'"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '{"messages": [{"role": "user", "content": "a}]}',
            "broken JSON at column 43: Unterminated string starting at",
        ),
        (line(user("a"), assistant("")), "message 2 (assistant) is empty: there is nothing to learn from it"),
        (line(assistant("a")), "roles out of order: message 1 is the assistant's where the user's is due"),
        (b"\xff\xfe{", "not UTF-8: byte 0xff at position 1"),
        ("", "empty"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(scene: Scene, text: str | bytes, reason: str) -> None:
    scene.spoil(317, text)
    assert refusal(scene.config()) == (
        Cause.DataInvalid,
        f"{scene.data}: 1 of 400 lines can't be used: line 317: {reason}",
    )


def test_too_long_conversations_come_with_the_maximum_that_would_hold_them(scene: Scene) -> None:
    scene.spoil(2, line(user("x" * 300), assistant("y")))
    scene.spoil(99, line(user("x" * 400), assistant("y")))
    assert refusal(scene.config()) == (
        Cause.DataInvalid,
        f"{scene.data}: 2 of 400 lines can't be used: line 2: 304 tokens, 48 more than the maximum; line 99: 404 "
        "tokens, 148 more than the maximum. The maximum is 256 tokens; 404 would hold all that can be read, else "
        "shorten or remove the lines",
    )
    assert check.run(scene.config(training={"max_seq_length": 404}), lambda _: None).examples == 400


def test_of_many_bad_lines_the_first_are_named_in_order_and_all_are_counted(scene: Scene) -> None:
    scene.spoil(3, line(user("x" * 300), assistant("y")))
    for number in (4, *range(50, 80)):
        scene.spoil(number, "{}")
    _, message = refusal(scene.config())
    assert message.startswith(f"{scene.data}: 32 of 400 lines can't be used: line 3: 304 tokens, 48 more ")
    assert [f"line {number}:" in message for number in (3, 4, 50, 51, 52, 53)] == [True] * 5 + [False]
    assert "; and 27 more. The maximum is 256 tokens" in message


def test_a_refusal_fits_a_termination_message(scene: Scene, tmp_path: Path) -> None:
    for number in range(1, 300):
        scene.spoil(number, line({"role": "海" * 9000}))
    with pytest.raises(RuntimeFailure) as failure:
        check.run(scene.config(), lambda _: None)
    TerminationMessage.of(failure.value, 0).write(tmp_path / "log")
    written = TerminationMessage.parse((tmp_path / "log").read_text())
    assert written is not None
    assert written.message == str(failure.value)


def empty(path: Path) -> None:
    write(path, " ", "")


@pytest.mark.parametrize(
    ("spoil", "cause", "words"),
    [
        (Path.unlink, Cause.DataNotFound, "data/train.jsonl doesn't exist; {root}/data holds nothing"),
        (empty, Cause.DataInvalid, "data/train.jsonl is empty: it holds no conversation"),
    ],
)
def test_a_file_that_holds_nothing_is_refused(
    scene: Scene, spoil: Callable[[Path], None], cause: Cause, words: str
) -> None:
    spoil(scene.data)
    found, message = refusal(scene.config())
    assert found is cause
    assert words.format(root=scene.root) in message


def test_a_missing_evaluation_file_is_refused_before_the_rest_is_read(scene: Scene) -> None:
    cause, message = refusal(scene.config(evaluation_path=str(scene.root / "data/test.jsonl"), model_path="/nowhere"))
    assert cause is Cause.DataNotFound
    assert message == f"{scene.root}/data/test.jsonl doesn't exist; {scene.root}/data holds train.jsonl"


def of_llama(scene: Scene) -> None:
    scene.edit("config.json", architectures=["LlamaForCausalLM"], model_type="llama")


def of_nothing(scene: Scene) -> None:
    scene.edit("config.json", architectures=None)


def quantised(scene: Scene) -> None:
    scene.edit("config.json", quantization_config={"quant_method": "fp8"})


def without_folder(scene: Scene) -> None:
    shutil.rmtree(scene.model)


def without_tokenizer(scene: Scene) -> None:
    (scene.model / "tokenizer.json").unlink()


def with_a_torn_tokenizer(scene: Scene) -> None:
    (scene.model / "tokenizer.json").write_text('{"version": ')


def with_another_template(scene: Scene) -> None:
    scene.edit("tokenizer_config.json", chat_template="{{ messages[0]['content'] }}")


def without_a_shard(scene: Scene) -> None:
    sorted(scene.model.glob("*.safetensors"))[1].unlink()


def with_a_torn_shard(scene: Scene) -> None:
    path = sorted(scene.model.glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-100])


def of_another_shape(scene: Scene) -> None:
    scene.edit("config.json", intermediate_size=64)


@pytest.mark.parametrize(
    ("spoil", "cause", "words"),
    [
        (without_folder, Cause.ModelNotFound, "model doesn't exist in the model's volume"),
        (of_llama, Cause.ModelUnsupported, "has architectures ['LlamaForCausalLM'], model_type 'llama'; what can be "),
        (of_nothing, Cause.ModelUnsupported, "has architectures [], model_type 'hunyuan'; what can be tuned is "),
        (quantised, Cause.ModelUnsupported, "tune the BF16 checkpoint and quantise the result"),
        (without_tokenizer, Cause.TokenizerInvalid, "model holds neither tokenizer.json nor hy.tiktoken"),
        (with_a_torn_tokenizer, Cause.TokenizerInvalid, "model/tokenizer.json is not a tokenizer"),
        (with_another_template, Cause.TokenizerInvalid, "the chat template doesn't end an answer with eos_token"),
        (without_a_shard, Cause.CheckpointInvalid, "-of-0"),
        (with_a_torn_shard, Cause.CheckpointInvalid, "ends beyond what is there"),
        (of_another_shape, Cause.CheckpointInvalid, "config.json asks for [48, 64]"),
    ],
)
def test_a_base_model_that_cannot_be_tuned_is_refused(
    scene: Scene, spoil: Callable[[Scene], None], cause: Cause, words: str
) -> None:
    spoil(scene)
    found, message = refusal(scene.config())
    assert (found, words in message) == (cause, True), message


def test_a_tokenizer_of_another_model_is_refused(scene: Scene) -> None:
    tokens = json.loads((scene.model / "tokenizer.json").read_text())
    tokens["added_tokens"] += [
        {**tokens["added_tokens"][0], "id": 1000 + number, "content": f"<|more_{number}|>"} for number in range(60)
    ]
    (scene.model / "tokenizer.json").write_text(json.dumps(tokens))
    cause, message = refusal(scene.config())
    assert cause is Cause.TokenizerInvalid
    assert "has 535 tokens, the model 512: is it another model's?" in message


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (
            ["q_proj", "w_proj"],
            "the model has no layer 'w_proj' to adapt; it has down_proj, gate_proj, k_proj, o_proj,",
        ),
        (["wg"], "the model has no layer 'wg' to adapt"),
        (["lm_head"], "the model has no layer 'lm_head' to adapt"),
        (["proj"], "the model has no layer 'proj' to adapt"),
        ([], "lora.targets is empty: there is nothing to train"),
    ],
)
def test_lora_targets_must_be_layers_of_the_model(scene: Scene, targets: list[str], words: str) -> None:
    cause, message = refusal(scene.config(lora={"targets": targets}))
    assert (cause, words in message) == (Cause.ConfigInvalid, True), message


def test_what_lora_would_adapt_says_nothing_where_it_is_not_used(scene: Scene) -> None:
    assert check.run(scene.config(lora={"targets": ["wg"]}, method="full"), lambda _: None).examples == 400


def test_a_volume_that_is_too_small_is_refused_with_the_numbers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=70_000_000))
    cause, message = refusal(scene.config(method="full"))
    assert cause is Cause.SpaceInsufficient
    assert message == (
        f"the volume of {scene.output} has 70.0 MB free; needed are 74.2 MB: 3 checkpoints of 2.3 MB, merged 0.3 MB, "
        "67.1 MB to spare"
    )
    (scene.output / "checkpoints").mkdir()
    (scene.output / "checkpoints/state").write_bytes(bytes(10_000_000))
    assert check.run(scene.config(method="full"), lambda _: None).examples == 400


def test_an_output_that_cannot_be_written_is_refused(scene: Scene) -> None:
    write(scene.root / "file", "x")
    cause, message = refusal(scene.config(output=str(scene.root / "file/car")))
    assert cause is Cause.SaveFailed
    assert message.startswith(f"{scene.root}/file/car can't be written as user {os.getuid()}: ")


def test_the_published_vocabulary_is_converted_for_the_check(scene: Scene) -> None:
    shared = Path(__file__).parents[4] / "shared/data"
    if not (shared / "hy.tiktoken").exists():
        pytest.skip("the published vocabulary is licensed and kept outside the repository (../shared/data/hy.tiktoken)")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (scene.model / name).unlink()
    for name in ("hy.tiktoken", "tokenizer_config.json"):
        shutil.copy(shared / name, scene.model)
    cause, message = refusal(scene.config())
    assert (cause, "has 128166 tokens, the model 512" in message) == (Cause.TokenizerInvalid, True)
    assert not (scene.model / "tokenizer.json").exists()
