"""A model folder's defects, each with the file that has it, found without reading a weight."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from hunyuan_runtime.serve.checkpoint import INDEX, check_config, check_folder, check_weights
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.termination import Cause, RuntimeFailure


def shard(*tensors: str) -> bytes:
    """A safetensors file of two bytes a tensor."""
    header = {
        name: {"dtype": "BF16", "shape": [1], "data_offsets": [2 * at, 2 * at + 2]} for at, name in enumerate(tensors)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(2 * len(tensors))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two shards with an index."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "hunyuan"}')
    (folder / "a.safetensors").write_bytes(shard("w1", "w2"))
    (folder / "b.safetensors").write_bytes(shard("w3"))
    index(folder, w1="a.safetensors", w2="a.safetensors", w3="b.safetensors")
    return folder


def index(folder: Path, **weight_map: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_a_whole_checkpoint_passes(model: Path) -> None:
    check_folder(model)
    check_weights(model)
    assert check_config(model) is False


def test_one_file_needs_no_index(model: Path) -> None:
    (model / INDEX).unlink()
    (model / "b.safetensors").unlink()
    check_weights(model)


def cut(model: Path) -> None:
    path = model / "b.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_header(model: Path) -> None:
    path = model / "b.safetensors"
    path.write_bytes(path.read_bytes()[:20])


def grown(model: Path) -> None:
    with (model / "a.safetensors").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        pytest.param(cut, ["b.safetensors", "w3"], id="cut in its data"),
        pytest.param(cut_in_header, ["b.safetensors", "torn"], id="cut in its header"),
        pytest.param(grown, ["a.safetensors", "bytes"], id="bytes behind its end"),
        pytest.param(lambda m: (m / "b.safetensors").write_bytes(b""), ["b.safetensors"], id="empty"),
        pytest.param(
            lambda m: (m / "b.safetensors").write_bytes(struct.pack("<Q", 2) + b"[]"),
            ["b.safetensors", "header"],
            id="a header that is none",
        ),
        pytest.param(lambda m: (m / "b.safetensors").unlink(), ["b.safetensors", "missing", "w3"], id="shard missing"),
        pytest.param(
            lambda m: (m / "b.safetensors").write_bytes(shard("w4")), ["b.safetensors", "w3"], id="tensor missing"
        ),
        pytest.param(
            lambda m: (m / "foreign.safetensors").write_bytes(shard("w")),
            ["foreign.safetensors", "index"],
            id="foreign",
        ),
        pytest.param(lambda m: (m / INDEX).unlink(), [INDEX, "missing"], id="index missing"),
        pytest.param(lambda m: (m / INDEX).write_text("{"), [INDEX, "JSON"], id="index no JSON"),
        pytest.param(lambda m: (m / INDEX).write_text("{}"), [INDEX, "weight_map"], id="index empty"),
        pytest.param(
            lambda m: [path.unlink() for path in m.glob("*.safetensors")], ["no *.safetensors"], id="no weights at all"
        ),
    ],
)
def test_a_defect_is_told_with_its_file(model: Path, break_it: Callable[[Path], object], words: list[str]) -> None:
    break_it(model)
    with pytest.raises(RuntimeFailure) as found:
        check_weights(model)
    assert found.value.cause is Cause.CheckpointInvalid
    assert all(word in str(found.value) for word in [str(model), *words]), str(found.value)


def test_a_wrong_path_is_told_with_what_is_there_instead(model: Path) -> None:
    with pytest.raises(RuntimeFailure, match=f"{model.parent}/modle.*holds model") as found:
        check_folder(model.parent / "modle")
    assert found.value.cause is Cause.ModelNotFound


def test_a_folder_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"no config\.json") as found:
        check_folder(tmp_path)
    assert found.value.cause is Cause.ModelNotFound


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ('{"model_type": "llama"}', "model_type 'llama'"),
    ],
)
def test_a_configuration_of_another_model_is_refused(model: Path, text: str, words: str) -> None:
    (model / "config.json").write_text(text)
    with pytest.raises(RuntimeFailure, match=words) as found:
        check_config(model)
    assert found.value.cause is Cause.CheckpointInvalid


def test_quantised_weights_are_recognised(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "hunyuan", "quantization_config": {"quant_method": "fp8"}}')
    assert check_config(model) is True


@pytest.mark.parametrize(
    ("files", "words"),
    [
        pytest.param({}, "neither tokenizer.json nor hy.tiktoken", id="none"),
        pytest.param({"tokenizer.json": "not a tokenizer"}, "tokenizer.json is not a tokenizer", id="no tokenizer"),
        pytest.param({"hy.tiktoken": "?", "tokenizer_config.json": "{}"}, "hy.tiktoken", id="no vocabulary"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_told_with_its_file(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RuntimeFailure, match=words) as found:
        prepare_tokenizer(tmp_path, tmp_path / "scratch")
    assert found.value.cause is Cause.TokenizerInvalid


def test_a_tokenizer_without_chat_template_cannot_serve_chats(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(
        '{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,'
        ' "pre_tokenizer": null, "post_processor": null, "decoder": null,'
        ' "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}'
    )
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(RuntimeFailure, match="no chat_template"):
        prepare_tokenizer(tmp_path, tmp_path / "scratch")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert prepare_tokenizer(tmp_path, tmp_path / "scratch") == tmp_path
