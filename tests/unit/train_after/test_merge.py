"""What the stage ``merge`` writes is what plain peft, or the trained state, comes to; and it is whole or not there."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from hunyuan_runtime.checkpoint.names import unfused
from hunyuan_runtime.model import HunYuanConfig, HunYuanForCausalLM
from hunyuan_runtime.serve.architecture import check_architecture
from hunyuan_runtime.serve.checkpoint import check_weights
from hunyuan_runtime.termination import Cause, RuntimeFailure
from hunyuan_runtime.train.merge import run
from hunyuan_runtime.train_config import Stage, TrainPhase, TrainStatus
from tests.unit.quantize.checkpoints import archived, fused, make_source, weights_of
from tests.unit.train_after.models import ALL, ATTENTION, config_of, full_of, lora_of
from tests.unit.train_after.zero_files import Groups, write_checkpoint

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a hundred times what they win on this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = make_source(tmp_path_factory.mktemp("base") / "bf16")
    (base / "tokenizer.json").write_text("{}")
    return base


def quiet(_: TrainStatus) -> None:
    pass


def assert_close(got: dict[str, Tensor], wanted: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Equal but for the last bit: sums in another order may round to the other side."""
    for name, tensor in got.items():
        router = name.endswith(".mlp.gate.wg.weight")
        assert tensor.dtype == (torch.float32 if router else dtype), name
        one_bit = torch.finfo(tensor.dtype).eps
        torch.testing.assert_close(tensor.float(), wanted[name].float(), rtol=one_bit, atol=1e-6)
        assert (tensor == wanted[name].to(tensor.dtype)).float().mean() > (0.99 if dtype != torch.float32 else 0), name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("targets", [ATTENTION, ALL], ids=["attention", "experts too"])
def test_lora_comes_to_what_peft_merges_in_fp32(
    targets: tuple[str, ...], dtype: str, base: Path, tmp_path: Path
) -> None:
    trained, wanted = lora_of(base, targets)
    write_checkpoint(tmp_path, [trained])
    config = config_of(base, tmp_path, merge_dtype=dtype)
    run(config.model_copy(update={"lora": config.lora.model_copy(update={"targets": targets})}), quiet)
    got = weights_of(tmp_path / "merged")
    assert got.keys() == weights_of(base).keys()
    assert_close(got, wanted, DTYPES[dtype])


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(("method", "part"), [("full", ""), ("attention", "self_attn")])
def test_trained_parameters_replace_the_bases_and_the_frozen_ones_stay(
    method: str, part: str, stage: int, base: Path, tmp_path: Path
) -> None:
    trained = full_of(base, part)
    experts = {name: tensor for name, tensor in trained.items() if ".experts." in name}
    others = {name: tensor for name, tensor in trained.items() if ".experts." not in name}
    write_checkpoint(tmp_path, [group for group in (experts, others) if group], stage=stage)
    run(config_of(base, tmp_path, method=method), quiet)
    got, frozen = weights_of(tmp_path / "merged"), weights_of(base)
    for name, tensor in got.items():
        assert torch.equal(tensor, trained.get(name, frozen[name]).to(tensor.dtype)), name
    assert "lm_head.weight" not in got
    model: Any = HunYuanForCausalLM.from_pretrained(tmp_path / "merged")
    assert model.lm_head.weight is model.model.embed_tokens.weight


def tied_twice(base: Path, folder: Path) -> Path:
    """Old checkpoints hold the head beside the embedding to which it is tied."""
    shutil.copytree(base, folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name = index["weight_map"]["model.embed_tokens.weight"]
    tensors = load_file(folder / name)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / name)
    index["weight_map"]["lm_head.weight"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_a_stored_copy_of_the_tied_embedding_follows_it(base: Path, tmp_path: Path) -> None:
    source = tied_twice(base, tmp_path / "source")
    trained = full_of(base)
    write_checkpoint(tmp_path, [trained])
    run(config_of(source, tmp_path, method="full"), quiet)
    got = weights_of(tmp_path / "merged")
    assert torch.equal(got["lm_head.weight"], trained["model.embed_tokens.weight"].bfloat16())


def test_a_head_of_its_own_is_trained_like_any_other(tmp_path: Path) -> None:
    base = make_source(tmp_path / "base", tie_word_embeddings=False)
    trained = full_of(base)
    write_checkpoint(tmp_path, [trained])
    run(config_of(base, tmp_path, method="full"), quiet)
    got = weights_of(tmp_path / "merged")
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        assert torch.equal(got[name], trained[name].bfloat16())


@pytest.mark.parametrize("form", [archived, fused])
def test_the_names_of_the_base_stay_whatever_its_form(
    form: Callable[[Path, Path], Path], base: Path, tmp_path: Path
) -> None:
    source = form(base, tmp_path / "source")
    trained, wanted = lora_of(base, ALL)
    write_checkpoint(tmp_path, [trained])
    config = config_of(source, tmp_path)
    run(config.model_copy(update={"lora": config.lora.model_copy(update={"targets": ALL})}), quiet)
    merged = tmp_path / "merged"
    assert [path.name for path in merged.glob("*.safetensors")] == ["model.safetensors"]
    check_weights(merged)
    check_architecture(merged)
    stored = weights_of(merged)
    if form is fused:
        assert stored.keys() == weights_of(source).keys()
        stored = dict(unfused(stored.items(), HunYuanConfig.from_pretrained(merged)))
    assert_close(stored, wanted, torch.bfloat16)


def test_the_layout_and_what_lies_beside_the_weights_stay(base: Path, tmp_path: Path) -> None:
    trained, _ = lora_of(base, ATTENTION)
    write_checkpoint(tmp_path, [trained])
    told: list[TrainStatus] = []
    report = run(config_of(base, tmp_path, merge_dtype="fp32"), told.append)
    merged = tmp_path / "merged"
    assert {path.name for path in merged.iterdir()} == {path.name for path in base.iterdir()} | {"merge_report.json"}
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, merged))
    assert (before.pop("dtype"), after.pop("dtype")) == ("bfloat16", "float32")
    assert before == after
    layout, copied = (
        json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"] for folder in (base, merged)
    )
    assert layout == copied
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in merged.iterdir())
    assert (report.stage, report.model) == (Stage.MERGE, "merged")
    assert "GB in fp32" in report.message
    assert {status.phase for status in told} == {TrainPhase.MERGING}
    assert told[-1].done == told[-1].total == sum(t.numel() * 4 for t in weights_of(merged).values())


def test_the_adapter_is_one_of_peft(base: Path, tmp_path: Path) -> None:
    trained, wanted = lora_of(base, ATTENTION)
    write_checkpoint(tmp_path, [trained])
    run(config_of(base, tmp_path), quiet)
    model: Any = HunYuanForCausalLM.from_pretrained(base, dtype=torch.float32)
    state = PeftModel.from_pretrained(model, tmp_path / "adapter").merge_and_unload().state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_the_adapter_is_told_of_and_can_be_all_that_is_made(base: Path, tmp_path: Path) -> None:
    trained, _ = lora_of(base, ATTENTION)
    write_checkpoint(tmp_path, [trained])
    alone = run(config_of(base, tmp_path, merge=False), quiet)
    assert (alone.adapter, alone.model) == ("adapter", "")
    assert not (tmp_path / "merged").exists()
    both = run(config_of(base, tmp_path), quiet)
    assert (both.adapter, both.model) == ("adapter", "merged")
    assert both.adapter_digest == alone.adapter_digest != both.digest


def test_the_digest_is_of_the_content(base: Path, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        trained, _ = lora_of(base, ATTENTION, seed)
        write_checkpoint(tmp_path / name, [trained])
        digests.append(run(config_of(base, tmp_path / name), quiet).digest)
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_a_second_run_finds_it_done(base: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, [lora_of(base, ATTENTION)[0]])
    config = config_of(base, tmp_path)
    first = run(config, quiet)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "merged").iterdir()}
    again = run(config, quiet)
    assert again.digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "merged").iterdir()} == times


class Killed(BaseException):
    pass


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("after", [1, 20, 60])
def test_a_killed_run_leaves_nothing_visible_and_the_next_writes_the_same(
    after: int, method: str, base: Path, tmp_path: Path
) -> None:
    trained = lora_of(base, ATTENTION)[0] if method == "lora" else full_of(base)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_checkpoint(folder, [trained])
    told: list[TrainStatus] = []

    def kill(status: TrainStatus) -> None:
        told.append(status)
        if len(told) > after:
            raise Killed

    digest = run(config_of(base, whole, method=method), quiet).digest
    with pytest.raises(Killed):
        run(config_of(base, killed, method=method), kill)
    assert not (killed / "merged").exists()
    assert run(config_of(base, killed, method=method), quiet).digest == digest
    assert {path.name: path.read_bytes() for path in (killed / "merged").iterdir()} == {
        path.name: path.read_bytes() for path in (whole / "merged").iterdir()
    }
    assert not [path for path in killed.iterdir() if path.name.startswith(".")]


def failure(config: Any) -> RuntimeFailure:
    with pytest.raises(RuntimeFailure) as refused:
        run(config, quiet)
    assert not (Path(config.output) / "merged").exists()
    return refused.value


def test_no_space_is_told_before_anything_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, [full_of(base)])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    told = failure(config_of(base, tmp_path, method="full"))
    assert told.cause is Cause.SpaceInsufficient
    assert "0.00 GB free" in str(told)
    assert not list((tmp_path / ".merged.partial").glob("model"))


def test_what_the_system_refuses_is_told(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, [full_of(base)])

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hunyuan_runtime.merge.run.write_tensors", full_disk)
    told = failure(config_of(base, tmp_path, method="full"))
    assert told.cause is Cause.SaveFailed
    assert "No space left on device" in str(told)


def test_another_base_is_refused_with_the_tensor(tmp_path: Path) -> None:
    base, other = make_source(tmp_path / "base"), make_source(tmp_path / "other", hidden_size=64)
    write_checkpoint(tmp_path, [lora_of(base, ATTENTION)[0]])
    told = failure(config_of(other, tmp_path))
    assert told.cause is Cause.CheckpointInvalid
    assert "_proj.weight is [" in str(told)


def test_a_wrong_index_is_refused(base: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(base, tmp_path / "source"))
    index = json.loads((source / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model-00009-of-00009.safetensors"
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    write_checkpoint(tmp_path, [lora_of(base, ATTENTION)[0]])
    assert "model-00009-of-00009.safetensors is missing" in str(failure(config_of(source, tmp_path)))


def test_a_training_that_has_not_ended_is_refused(base: Path, tmp_path: Path) -> None:
    assert "there is none" in str(failure(config_of(base, tmp_path)))
    write_checkpoint(tmp_path, [lora_of(base, ATTENTION)[0]], step=2)
    assert "the newest is of step 2" in str(failure(config_of(base, tmp_path)))


def test_a_checkpoint_that_was_damaged_since_is_refused(base: Path, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, [lora_of(base, ATTENTION)[0]])
    file = max(folder.glob("*_optim_states.pt"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    told = failure(config_of(base, tmp_path))
    assert told.cause is Cause.CheckpointInvalid
    assert f"{file.name} has another hash" in str(told)


def test_another_trainings_result_is_left_alone(base: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        groups: Groups = [lora_of(base, ATTENTION, seed)[0]]
        write_checkpoint(tmp_path, groups)
        if seed == 1:
            digest = run(config_of(base, tmp_path), quiet).digest
    with pytest.raises(RuntimeFailure, match="another training's adapter") as refused:
        run(config_of(base, tmp_path), quiet)
    assert refused.value.cause is Cause.ConfigInvalid
    assert json.loads((tmp_path / "merged/merge_report.json").read_text())["digest"] == digest


def test_numbers_beyond_fp16_are_refused(base: Path, tmp_path: Path) -> None:
    trained = full_of(base)
    trained["model.norm.weight"] = trained["model.norm.weight"] + 1e5
    write_checkpoint(tmp_path, [trained])
    told = failure(config_of(base, tmp_path, method="full", merge_dtype="fp16"))
    assert "model.norm.weight has numbers beyond fp16" in str(told)
