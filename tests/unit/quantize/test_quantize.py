"""From BF16 to FP8: what is written, how far off it is, that a killed run goes on, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hunyuan_runtime.checkpoint.headers import KINDS, read_header
from hunyuan_runtime.checkpoint.output import OutputRefused, partial_of
from hunyuan_runtime.model import HunYuanForCausalLM
from hunyuan_runtime.quantize import Format, Job, quantize
from hunyuan_runtime.serve.architecture import check_architecture
from hunyuan_runtime.serve.checkpoint import check_weights
from hunyuan_runtime.termination import RuntimeFailure
from tests.unit.quantize.checkpoints import (
    PROMPTS,
    archived,
    eight_bit_model,
    fused,
    logits_of,
    make_source,
    weights_of,
)

LAYER_BOUND = 0.10
"""Of what a layer adds, ‖difference‖ / ‖addition‖: e4m3 rounds by up to 1/16, and few weights average little out."""
LOGITS_BOUND = 0.15
"""Of logits, ‖difference‖ / ‖logits‖, behind four such layers."""
SHARD_BYTES = 60_000


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost a hundred times what they win on this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Made(NamedTuple):
    source: Path
    out: Path
    report: dict[str, Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source") / "bf16")


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    job = job_of(source, tmp_path_factory.mktemp("out") / "fp8")
    return Made(source, job.out, quantize(job).report)


def job_of(source: Path, out: Path, **options: Any) -> Job:
    settings: dict[str, Any] = {"prompts": PROMPTS, "shard_bytes": SHARD_BYTES} | options
    return Job(source=source, out=out, **settings)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_error_stays_within_its_bound(made: Made) -> None:
    exact = HunYuanForCausalLM.from_pretrained(made.source, dtype=torch.float32).eval()
    rounded = eight_bit_model(made.out)
    for prompt in PROMPTS:
        expected, got = logits_of(exact, prompt), logits_of(rounded, prompt)
        assert 0 < (got - expected).norm() / expected.norm() < LOGITS_BOUND


def test_every_weight_is_within_half_a_step_of_the_sources(made: Made) -> None:
    exact, stored = weights_of(made.source), weights_of(made.out)
    eight_bits = [name for name, tensor in stored.items() if tensor.dtype == torch.float8_e4m3fn]
    assert len(eight_bits) == 4 * (2 + 5 * 3) + 2 * 2
    for name in eight_bits:
        scale = stored[f"{name}_scale"]
        wide, wanted = stored[name].float() * scale, exact[name].float()
        # Half a step: 1/16 of the number, and half of the least subnormal, 2^-9, around zero.
        assert torch.all((wide - wanted).abs() <= (wanted.abs() / 16).clamp(min=scale * 2**-10) * 1.001), name


def test_router_norms_and_embedding_keep_their_bits(made: Made) -> None:
    exact, stored = weights_of(made.source), weights_of(made.out)
    kept = [name for name in exact if not name.endswith("_proj.weight")]
    assert len(kept) == 4 * (1 + 4) + 2
    assert all(torch.equal(exact[name], stored[name]) and exact[name].dtype == stored[name].dtype for name in kept)


def test_tensors_that_the_engine_fuses_have_one_scale(made: Made) -> None:
    stored = weights_of(made.out)
    at = "model.layers.0"

    def values(kind: str, *modules: str) -> set[float]:
        return {stored[f"{at}.{module}.{kind}"].item() for module in modules}

    assert len(values("weight_scale", *(f"self_attn.{part}_proj" for part in "qkv"))) == 1
    for owner in ("mlp.shared_mlp", "mlp.experts.0", "mlp.experts.3"):
        assert len(values("weight_scale", f"{owner}.gate_proj", f"{owner}.up_proj")) == 1
    assert len(values("weight_scale", *(f"mlp.experts.{number}.down_proj" for number in range(4)))) == 4
    for part in ("gate", "up", "down"):
        assert len(values("input_scale", *(f"mlp.experts.{number}.{part}_proj" for number in range(4)))) == 1


def test_scales_map_the_largest_number_to_the_largest_of_fp8(made: Made) -> None:
    exact, stored = weights_of(made.source), weights_of(made.out)
    name = "model.layers.1.self_attn.o_proj.weight"
    assert stored[f"{name}_scale"].item() == pytest.approx(exact[name].abs().max().item() / 448)
    assert stored[f"{name}_scale"].dtype == torch.float32
    assert stored[f"{name}_scale"].shape == ()


def test_inputs_and_values_are_measured_in_the_whole_model(made: Made) -> None:
    """All layers at once, from transformers' own forward: what one layer at a time must come to."""
    model = HunYuanForCausalLM.from_pretrained(made.source, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    seen: dict[str, float] = {}

    def record(key: str, tensor: Tensor) -> None:
        seen[key] = max(seen.get(key, 0.0), tensor.abs().max().item())

    for layer in range(4):
        attention = model.model.layers[layer].self_attn
        attention.o_proj.register_forward_pre_hook(lambda _m, x, at=layer: record(f"{at}.o_proj.input", x[0]))
        if layer % 2 == 0:
            attention.v_proj.register_forward_hook(lambda _m, _x, out, at=layer: record(f"{at}.v", out))
    for prompt in PROMPTS:
        logits_of(model, prompt)
    stored = weights_of(made.out)
    for layer in range(4):
        at = f"model.layers.{layer}.self_attn"
        assert stored[f"{at}.o_proj.input_scale"].item() * 448 == pytest.approx(seen[f"{layer}.o_proj.input"], rel=1e-2)
        assert (f"{at}.v_scale" in stored) == (f"{at}.k_scale" in stored) == (layer % 2 == 0)
        if layer % 2 == 0:
            assert stored[f"{at}.v_scale"].item() * 448 == pytest.approx(seen[f"{layer}.v"], rel=1e-2)
            assert stored[f"{at}.k_scale"].item() == 1.0


def test_keys_that_are_not_normalised_are_measured(tmp_path: Path) -> None:
    out = quantize(job_of(make_source(tmp_path / "bf16", use_qk_norm=False), tmp_path / "out")).path
    assert 0 < weights_of(out)["model.layers.0.self_attn.k_scale"].item() < 1


def test_the_report_has_each_layers_error(made: Made) -> None:
    assert json.loads((made.out / "quantization_report.json").read_text()) == made.report
    assert (made.report["format"], made.report["prompts"], made.report["tokens"]) == ("autofp8", 2, 49)
    errors = [layer["output_error"] for layer in made.report["layers"]]
    assert len(errors) == 4
    assert all(0 < error < LAYER_BOUND for error in errors)
    assert made.report["worst_output_error"] == max(errors) == errors[made.report["worst_layer"]]
    assert 0 < made.report["max_weight_error"] <= 1 / 16


def test_experts_that_no_prompt_reaches_are_named_and_get_the_others_scale(tmp_path: Path, source: Path) -> None:
    done = quantize(job_of(source, tmp_path / "out", prompts=[[3]]))
    unseen = done.report["layers"][0]["unseen_experts"]
    assert len(unseen) == 3
    stored = weights_of(done.path)
    scales = {stored[f"model.layers.0.mlp.experts.{number}.down_proj.input_scale"].item() for number in range(4)}
    assert len(scales) == 1


@pytest.mark.parametrize("kind", Format)
def test_config_json_says_what_the_engine_must_know(kind: Format, source: Path, tmp_path: Path) -> None:
    out = quantize(job_of(source, tmp_path / "out", format=kind)).path
    said = json.loads((out / "config.json").read_text())
    quantization = said.pop("quantization_config")
    assert said == json.loads((source / "config.json").read_text())
    ignored = ["lm_head", *(f"model.layers.{layer}.mlp.gate.wg" for layer in range(4))]
    if kind is Format.AUTOFP8:
        assert quantization == {
            "quant_method": "fp8",
            "activation_scheme": "static",
            "kv_cache_scheme": "static",
            "ignored_layers": ignored,
        }
    else:
        assert (quantization["quant_method"], quantization["ignore"]) == ("compressed-tensors", ignored)
        assert quantization["config_groups"]["group_0"]["input_activations"]["dynamic"] is False
    check_weights(out)
    check_architecture(out)


def test_the_folder_is_whole_and_readable_by_everybody(made: Made) -> None:
    _, index = KINDS[0]
    shards = sorted(made.out.glob("*.safetensors"))
    assert {path.name for path in made.out.iterdir()} == {
        *(path.name for path in shards), index, "config.json", "generation_config.json", "LICENSE",
        "quantization_report.json",
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in made.out.iterdir())
    assert made.out.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in made.out.parent.iterdir()] == [made.out.name]
    assert len(shards) > 2
    assert all(sum(entry.size for entry in read_header(shard).values()) <= SHARD_BYTES for shard in shards)


def test_a_second_run_finds_it_done(made: Made) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.out.iterdir()}
    again = quantize(job_of(made.source, made.out))
    assert (again.made, again.report) == (False, made.report)
    assert {path: path.stat().st_mtime_ns for path in made.out.iterdir()} == before


class Killed(BaseException):
    pass


def kill_at(step: str, done: int) -> Callable[[str, int, int], None]:
    def told(now: str, count: int, _total: int) -> None:
        if now == step and count >= done:
            raise Killed

    return told


@pytest.mark.parametrize(
    ("step", "done"), [("calibrate", 0), ("calibrate", 1), ("calibrate", 3), ("write", 1), ("write", SHARD_BYTES)]
)
def test_a_killed_run_goes_on_and_writes_the_same_bytes(step: str, done: int, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        quantize(job_of(made.source, out, progress=kill_at(step, done)))
    assert not out.exists()
    steps: list[tuple[str, int]] = []
    quantize(job_of(made.source, out, progress=lambda step, done, _: steps.append((step, done))))
    assert files_of(out) == files_of(made.out)
    assert steps[0] == ("calibrate", done if step == "calibrate" else 4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_work_for_other_prompts_is_not_taken_up(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        quantize(job_of(made.source, out, prompts=[[1, 2, 3]], progress=kill_at("write", 1)))
    quantize(job_of(made.source, out))
    assert files_of(out) == files_of(made.out)


def test_a_torn_file_of_the_killed_run_is_written_anew(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        quantize(job_of(made.source, out, progress=kill_at("write", 1)))
    shard = next((tmp_path / ".out.partial/model").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    quantize(job_of(made.source, out))
    assert files_of(out) == files_of(made.out)


@pytest.mark.parametrize("form", [archived, fused])
def test_archives_and_fused_names_come_to_the_same_tensors(
    form: Callable[[Path, Path], Path], made: Made, tmp_path: Path
) -> None:
    out = quantize(job_of(form(made.source, tmp_path / "source"), tmp_path / "out")).path
    got, expected = weights_of(out), weights_of(made.out)
    assert got.keys() == expected.keys()
    assert all(
        torch.equal(got[name].view(torch.uint8), expected[name].view(torch.uint8))
        for name in expected
        if expected[name].dim()
    )
    assert all(torch.equal(got[name], expected[name]) for name in expected if not expected[name].dim())


def refusal(job: Job) -> str:
    with pytest.raises((OutputRefused, RuntimeFailure)) as refused:
        quantize(job)
    assert not (partial_of(job.out) / "model").exists()
    return str(refused.value)


def test_a_quantised_source_is_refused(made: Made, tmp_path: Path) -> None:
    assert "is quantised already" in refusal(job_of(made.out, tmp_path / "out"))


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


def test_another_model_is_refused(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    assert "model_type 'llama'" in refusal(job_of(copy, tmp_path / "out"))


def test_a_torn_source_is_refused_with_file_and_tensor(copy: Path, tmp_path: Path) -> None:
    shard = max(copy.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1])
    told = refusal(job_of(copy, tmp_path / "out"))
    assert re.search(rf"{shard.name} .*: model\..* ends beyond what is there", told), told


def test_a_source_that_lacks_a_tensor_is_refused(copy: Path, source: Path, tmp_path: Path) -> None:
    for file in copy.glob("model*"):
        file.unlink()
    weights = weights_of(source)
    del weights["model.norm.weight"]
    save_file(weights, copy / "model.safetensors")
    assert "lacks model.norm.weight" in refusal(job_of(copy, tmp_path / "out"))


def test_a_folder_that_holds_something_else_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds something else" in refusal(job_of(source, tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_root_of_a_volume_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder appears there by a rename, which no mounted folder takes part in."""
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    assert "is a volume's root" in refusal(job_of(source, tmp_path))


def test_a_checkpoint_of_other_prompts_is_left_alone(made: Made) -> None:
    assert "another source, format or set of prompts" in refusal(job_of(made.source, made.out, prompts=[[1]]))


def test_too_little_space_is_told_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    assert re.search(r"has 0\.0 GB free; the checkpoint needs 0\.1 GB", refusal(job_of(source, tmp_path / "out")))


def test_two_runs_at_once_are_refused(source: Path, tmp_path: Path) -> None:
    told: list[str] = []

    def meanwhile(step: str, done: int, _total: int) -> None:
        if (step, done) == ("calibrate", 0):
            told.append(refusal(job_of(source, tmp_path / "out")))

    quantize(job_of(source, tmp_path / "out", progress=meanwhile))
    assert told == [f"another process is making {tmp_path / 'out'} just now"]


@pytest.mark.parametrize(
    ("prompts", "why"),
    [([], "no prompts"), ([[]], "no prompts"), ([[1, 96]], "token 96, the model knows 96")],
)
def test_prompts_that_cannot_be_used_are_refused(
    prompts: list[list[int]], why: str, source: Path, tmp_path: Path
) -> None:
    assert why in refusal(job_of(source, tmp_path / "out", prompts=prompts))
