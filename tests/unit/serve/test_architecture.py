"""Weights that don't belong to their config.json are told before anything is loaded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hunyuan_runtime.checkpoint.reader import Reader
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


def archive(model: Path) -> Path:
    """The same checkpoint as torch.save writes it."""
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    return model


def test_an_archive_of_torch_that_fits_passes(model: Path) -> None:
    check_architecture(archive(model))


def test_a_tensor_of_an_archive_that_does_not_fit_is_named(model: Path) -> None:
    edit(model, lambda tensors: tensors.update({NORM: torch.zeros(17)}))
    assert f"pytorch_model.bin doesn't fit its config.json: {NORM} has shape [17]" in refusal(archive(model))


def fuse(tensors: dict[str, torch.Tensor]) -> None:
    """As some checkpoints of the family are: see hunyuan_runtime.checkpoint.names."""
    for layer in (0, 1):
        at = f"model.layers.{layer}"
        q, k, v = (tensors.pop(f"{at}.self_attn.{part}_proj.weight") for part in "qkv")
        heads = [part.view(2, 8, 16) for part in (q, k, v)]
        tensors[f"{at}.self_attn.qkv_proj.weight"] = torch.cat(heads, dim=1).reshape(48, 16)
        up, gate = (tensors.pop(f"{at}.mlp.{part}_proj.weight") for part in ("up", "gate"))
        tensors[f"{at}.mlp.gate_and_up_proj.weight"] = torch.cat([up, gate])


def test_fused_tensors_that_fit_pass_and_are_the_same_weights(model: Path) -> None:
    plain = load_file(model / "model.safetensors")
    edit(model, fuse)
    check_architecture(model)
    reader = Reader(model, HunYuanConfig.from_pretrained(model))
    assert set(reader) == set(plain)
    assert all(torch.equal(reader.get(name), tensor) for name, tensor in plain.items())


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
