"""The stage ``quantize``: FP8 of what was merged, measured on the training data."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.tiny.model import VOCABULARY_SIZE, train_vocabulary
from hunyuan_runtime.tokenizer.convert import build, tokenizer_config
from hunyuan_runtime.train.quantize import PROMPTS, prompts_of, run
from hunyuan_runtime.train_config import Stage, TrainConfig, TrainPhase, TrainStatus
from tests.unit.quantize.checkpoints import make_source, weights_of
from tests.unit.train_after.models import config_of


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a hundred times what they win on this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_source(tmp_path_factory.mktemp("merged") / "merged", vocab_size=VOCABULARY_SIZE)
    build(train_vocabulary()).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(256)))
    (folder / "merge_report.json").write_text("{}")
    return folder


def chat(number: int) -> dict[str, list[dict[str, str]]]:
    turns = [("user", f"What is {number}?"), ("assistant", f"A number, {number}.")]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.fixture
def config(merged: Path, tmp_path: Path) -> TrainConfig:
    shutil.copytree(merged, tmp_path / "out/merged")
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(chat(number)) + "\n" for number in range(200)))
    return config_of(merged, tmp_path / "out", data_path=str(data), quantize="fp8")


def test_it_makes_fp8_beside_what_was_merged(config: TrainConfig) -> None:
    told: list[TrainStatus] = []
    report = run(config, told.append)
    out = Path(config.output, "fp8")
    assert (report.stage, report.model, len(report.digest)) == (Stage.QUANTIZE, "fp8", 64)
    assert f"measured on {PROMPTS} conversations" in report.message
    assert sum(tensor.dtype == torch.float8_e4m3fn for tensor in weights_of(out).values()) == 4 * 17 + 4
    assert json.loads((out / "config.json").read_text())["quantization_config"]["quant_method"] == "fp8"
    assert not (out / "merge_report.json").exists(), "it tells of another folder"
    assert {status.phase for status in told} == {TrainPhase.QUANTIZING}
    assert "measured 4 of 4 layers" in [status.message for status in told]
    assert max(status.done for status in told) == max(status.total for status in told) > 0
    again = run(config, told.append)
    assert again.digest == report.digest
    assert "by an earlier run" in again.message


def test_it_measures_on_conversations_from_all_over_the_file(config: TrainConfig) -> None:
    model = Path(config.output, "merged")
    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = [tokenizer.decode(ids) for ids in prompts_of(Path(config.data_path), model)]
    assert len(texts) == PROMPTS
    assert "A number, 0." in texts[0]
    assert "A number, 189." in texts[-1]


def failure(config: TrainConfig) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as refused:
        run(config, lambda _: None)
    return refused.value


def test_a_model_that_was_not_merged_is_refused(config: TrainConfig) -> None:
    shutil.rmtree(Path(config.output, "merged"))
    assert failure(config).cause is Cause.ModelNotFound


def test_no_space_is_told_before_anything_is_written(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(config.output)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    assert failure(config).cause is Cause.SpaceInsufficient
    assert not Path(config.output, "fp8").exists()


def test_the_result_of_other_data_is_left_alone(config: TrainConfig) -> None:
    run(config, lambda _: None)
    Path(config.data_path).write_text(json.dumps(chat(1)) + "\n")
    refused = failure(config)
    assert refused.cause is Cause.ConfigInvalid
    assert "another source, format or set of prompts" in str(refused)
