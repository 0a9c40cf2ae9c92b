"""Weights that don't belong to their config.json are told before anything is loaded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.serve.architecture import check_architecture
from hunyuan_runtime.termination import Cause, RuntimeFailure

NORM = "model.layers.1.input_layernorm.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = HunYuanConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    folder = tmp_path_factory.mktemp("whole")
    HunYuanForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edit(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = model / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refusal(model: Path) -> str:
    with pytest.raises(RuntimeFailure) as refused:
        check_architecture(model)
    assert refused.value.cause is Cause.CheckpointInvalid
    return str(refused.value)


def test_a_model_that_fits_passes(model: Path) -> None:
    check_architecture(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda tensors: tensors.pop(NORM), ["lacks", NORM], id="missing"),
        pytest.param(
            lambda tensors: tensors.update({"model.foreign": torch.zeros(1)}),
            ["model.safetensors", "model.foreign"],
            id="foreign",
        ),
        pytest.param(
            lambda tensors: tensors.update({NORM: torch.zeros(17)}),
            ["model.safetensors", NORM, "[17]", "[16]"],
            id="shape",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    model: Path, change: Callable[[dict[str, torch.Tensor]], object], words: list[str]
) -> None:
    edit(model, change)
    told = refusal(model)
    assert all(word in told for word in words), told


def test_a_field_that_the_architecture_refuses_is_named(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 3}))
    assert "num_key_value_heads 3" in refusal(model)
