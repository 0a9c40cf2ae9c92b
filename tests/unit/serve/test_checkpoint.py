"""A model folder's defects, each with the file that has it, found without reading a weight."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hunyuan_runtime.checkpoint.headers import KINDS, read_header
from hunyuan_runtime.serve.checkpoint import check_config, check_folder, check_weights
from hunyuan_runtime.serve.tokenizer_files import prepare_tokenizer
from hunyuan_runtime.termination import Cause, RuntimeFailure

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX, BIN_INDEX = (index for _, index in KINDS)


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
    (folder / A).write_bytes(shard("w1", "w2"))
    (folder / B).write_bytes(shard("w3"))
    index(folder, w1=A, w2=A, w3=B)
    return folder


def index(folder: Path, **weight_map: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def test_a_whole_checkpoint_passes(model: Path) -> None:
    check_folder(model)
    check_weights(model)
    assert check_config(model) is False


def test_one_file_needs_no_index(model: Path) -> None:
    (model / INDEX).unlink()
    (model / B).unlink()
    (model / A).rename(model / "model.safetensors")
    check_weights(model)


def test_shards_that_are_all_there_by_their_numbers_need_no_index(model: Path) -> None:
    (model / INDEX).unlink()
    check_weights(model)


def test_files_of_other_names_are_not_the_models(model: Path) -> None:
    (model / "adapter_model.safetensors").write_bytes(b"torn")
    (model / "optimizer.bin").write_bytes(b"torn")
    check_weights(model)


def cut(model: Path) -> None:
    path = model / B
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_header(model: Path) -> None:
    path = model / B
    path.write_bytes(path.read_bytes()[:20])


def grown(model: Path) -> None:
    with (model / A).open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        pytest.param(cut, [B, "w3"], id="cut in its data"),
        pytest.param(cut_in_header, [B, "torn"], id="cut in its header"),
        pytest.param(grown, [A, "bytes"], id="bytes behind its end"),
        pytest.param(lambda m: (m / B).write_bytes(b""), [B], id="empty"),
        pytest.param(
            lambda m: (m / B).write_bytes(struct.pack("<Q", 2) + b"[]"),
            [B, "header"],
            id="a header that is none",
        ),
        pytest.param(lambda m: (m / B).unlink(), [B, "missing", "w3"], id="shard missing"),
        pytest.param(lambda m: (m / B).write_bytes(shard("w4")), [B, "w3"], id="tensor missing"),
        pytest.param(
            lambda m: (m / "model-foreign.safetensors").write_bytes(shard("w")),
            ["model-foreign.safetensors", "index"],
            id="foreign",
        ),
        pytest.param(
            lambda m: [(m / name).unlink() for name in (INDEX, A)],
            [A, "missing", f"{B} says that there are 2"],
            id="index and a shard missing",
        ),
        pytest.param(
            lambda m: [(m / INDEX).unlink(), (m / B).rename(m / "model-b.safetensors")],
            [INDEX, "missing", "model-b.safetensors bears no number"],
            id="index and numbers missing",
        ),
        pytest.param(
            lambda m: [(m / INDEX).unlink(), (m / "model-00001-of-00003.safetensors").write_bytes(shard("w"))],
            [INDEX, "missing", "model-00001-of-00003.safetensors is none of the 2 files"],
            id="index missing, shards of two models",
        ),
        pytest.param(lambda m: (m / INDEX).write_text("{"), [INDEX, "JSON"], id="index no JSON"),
        pytest.param(lambda m: (m / INDEX).write_text("{}"), [INDEX, "weight_map"], id="index empty"),
        pytest.param(
            lambda m: [path.unlink() for path in m.glob("*.safetensors")],
            ["neither model*.safetensors nor pytorch_model*.bin"],
            id="no weights at all",
        ),
    ],
)
def test_a_defect_is_told_with_its_file(model: Path, break_it: Callable[[Path], object], words: list[str]) -> None:
    break_it(model)
    with pytest.raises(RuntimeFailure) as found:
        check_weights(model)
    assert found.value.cause is Cause.CheckpointInvalid
    assert all(word in str(found.value) for word in [str(model), *words]), str(found.value)


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Two shards that torch.save wrote, with an index."""
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "hunyuan"}')
    torch.save({"w1": torch.zeros(64, 64), "w2": torch.zeros(64, dtype=torch.bfloat16)}, folder / BIN_A)
    torch.save({"w3": torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.float16))}, folder / BIN_B)
    weight_map = {"w1": BIN_A, "w2": BIN_A, "w3": BIN_B}
    (folder / BIN_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    return folder


BIN_A, BIN_B = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"


def test_archives_of_torch_are_read_without_torch(archives: Path) -> None:
    check_weights(archives)
    assert read_header(archives / BIN_A) == {"w1": ("F32", (64, 64)), "w2": ("BF16", (64,))}
    assert read_header(archives / BIN_B) == {"w3": ("F16", (2, 3))}


class Malice:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        pytest.param(9000, ["w1 ends beyond"], id="in the data"),
        pytest.param(-20, ["directory is cut off"], id="in the directory"),
        pytest.param(150, ["can't be read"], id="in the names"),
        pytest.param(0, ["is empty"], id="to nothing"),
    ],
)
def test_a_torn_archive_is_told_with_its_tensor(archives: Path, keep: int, words: list[str]) -> None:
    whole = (archives / BIN_A).read_bytes()
    (archives / BIN_A).write_bytes(whole[:keep])
    with pytest.raises(RuntimeFailure) as found:
        check_weights(archives)
    assert found.value.cause is Cause.CheckpointInvalid
    assert all(word in str(found.value) for word in [BIN_A, *words]), str(found.value)


def test_an_archive_cannot_run_code(archives: Path, tmp_path: Path) -> None:
    torch.save({"w3": Malice(tmp_path / "ran")}, archives / BIN_B)
    with pytest.raises(RuntimeFailure, match=f"{BIN_B} can't be read: it asks for"):
        check_weights(archives)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [["w3"], {"w3": 3}])
def test_an_archive_of_something_else_is_refused(archives: Path, content: object) -> None:
    torch.save(content, archives / BIN_B)
    with pytest.raises(RuntimeFailure, match="something other than a mapping of names to tensors"):
        check_weights(archives)


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
