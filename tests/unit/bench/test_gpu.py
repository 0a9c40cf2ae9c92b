"""What bench/gpu.py runs and how it judges; the engines' answers are played."""

from pathlib import Path
from typing import Any

import gpu
import pytest
from click.testing import CliRunner
from gpu import Device, Trial, config_of, judge, table, trials
from hunyuan_operator.plan.roofline import GPUS
from slices import REAL_LOAD, Speed, bound, demand_of, gpu_of, layers_on, slice_of

from hunyuan_runtime.config import Quantization
from hunyuan_runtime.model import HunYuanConfig

H100 = Device(name="NVIDIA H100 80GB HBM3", gpu="h100", memory=85_500_000_000)


@pytest.mark.parametrize(
    ("gigabytes", "quantization", "layers"),
    [(80, "bf16", 4), (80, "fp8", 6), (96, "bf16", 6), (141, "bf16", 8), (141, "int8", 10), (141, "fp8", 10)],
)
def test_a_slice_has_as_many_layers_as_the_card_holds(gigabytes: int, quantization: Quantization, layers: int) -> None:
    assert layers_on(quantization, gigabytes * 10**9) == layers


def test_a_card_that_is_too_small_is_told() -> None:
    with pytest.raises(ValueError, match="a GPU of 24 GB holds no two layers in bf16"):
        layers_on("bf16", 24 * 10**9)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H20", "h20"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
    ],
)
def test_boards_are_known_by_their_names(name: str, known: str) -> None:
    assert gpu_of(name) == known


def test_an_unknown_board_is_refused() -> None:
    with pytest.raises(ValueError, match="NVIDIA L4 has no row"):
        gpu_of("NVIDIA L4")


def test_the_slice_keeps_its_share_of_the_bound_in_the_whole() -> None:
    """Half of the bound with four layers is half of the bound with 64, on as many GPUs as the planner lays out."""
    demand = demand_of(slice_of(4), "fp8", REAL_LOAD, 96 * 2**30)
    best = bound(Speed(batch=1, decode=1, prefill=1), demand, REAL_LOAD, GPUS["h20"])
    half = Speed(batch=1, decode=best.decode_roofline / 2, prefill=best.prefill_roofline / 4)
    found = bound(half, demand, REAL_LOAD, GPUS["h20"])
    assert found.decode_ratio == pytest.approx(0.5)
    assert found.prefill_ratio == pytest.approx(0.25)
    assert found.whole_gpus == 8
    assert found.whole_decode == pytest.approx(609 / 2, rel=0.02)


def test_each_quantisation_runs_with_graphs_and_as_the_published_scripts_do() -> None:
    asked = {trial.name: trial for trial in trials(H100)}
    assert list(asked) == [
        "bf16 graphs", "bf16 eager", "int8 graphs", "int8 eager", "fp8 graphs", "fp8 eager",
        "bf16, FP8 cache", "bf16, nothing shared",
    ]  # fmt: skip
    assert asked["int8 eager"].options == {"enforce_eager": True, "quantization": "int8_per_channel_weight_only"}
    assert "enforce_eager" not in asked["fp8 graphs"].options
    assert asked["bf16, FP8 cache"].options["kv_cache_dtype"] == "fp8"
    assert not asked["bf16, nothing shared"].architecture.use_cla
    assert [trial.name for trial in asked.values() if trial.compared] == ["bf16 eager", "bf16, FP8 cache"]


def test_the_slices_config_is_hunyuan_larges() -> None:
    config = HunYuanConfig(**config_of(slice_of(6), REAL_LOAD))
    assert (config.num_hidden_layers, config.hidden_size, config.head_dim) == (6, 6400, 80)
    assert (config.num_experts, config.intermediate_size, config.kv_group_size) == (16, 18304, 2)


def told(**changes: Any) -> dict[str, dict[str, Any]]:
    speeds = [{"batch": batch, "decode": 100.0 * batch, "prefill": 5000.0} for batch in (1, 4, 8)]
    texts = {"likeliest": [1, 2, 3, 4], "logprobs": [-1.0, -2.0, -3.0, -4.0]}
    moved = {"likeliest": [1, 2, 3, 0], "logprobs": [-1.2, -2.0, -3.2, -4.0]}
    well: dict[str, dict[str, Any]] = {
        "bf16 graphs": {"cache_tokens": 20000, "speeds": speeds},
        "bf16 eager": {"cache_tokens": 20000, "speeds": speeds, **texts},
        "bf16, FP8 cache": {"cache_tokens": 40000, **moved},
        "bf16, nothing shared": {"cache_tokens": 10000},
    }
    return well | changes


def judged(told: dict[str, dict[str, Any]]) -> gpu.Result:
    asked = [Trial(name=name, architecture=slice_of(4), speeds="speeds" in each) for name, each in told.items()]
    return judge(asked, told, REAL_LOAD, H100)


def test_all_is_well() -> None:
    result = judged(told())
    assert list(result.complaints) == []
    assert result.kv_ratio == 2
    assert result.fp8_cache is not None
    assert result.fp8_cache.top_1 == 0.75
    assert result.fp8_cache.moved == pytest.approx(0.1)
    assert "75.0% of the likeliest tokens stay, log-probabilities move by 0.100" in table(result)
    assert len([line for line in table(result).splitlines() if line.startswith("bf16")]) == 6


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"bf16 graphs": {"failure": "no kernel"}}, "bf16 graphs: no kernel"),
        ({"bf16, nothing shared": {"cache_tokens": 20000}}, "1.00 times as many tokens, not 2.00"),
        (
            {"bf16, FP8 cache": {"likeliest": [1, 2, 0, 0], "logprobs": [-1.0, -2.0, -3.0, -4.0]}},
            "an FP8 cache moves more than the bound allows",
        ),
    ],
)
def test_what_is_not_is_told_and_the_rest_too(changes: dict[str, dict[str, Any]], complaint: str) -> None:
    result = judged(told(**changes))
    [found] = result.complaints
    assert complaint in found
    assert "bf16 eager" in table(result)


def test_without_a_gpu_it_says_what_it_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = CliRunner().invoke(gpu.main, ["--check"])
    assert result.exit_code == 2
    assert "planner's roofline" in result.stdout
    assert "torch finds no GPU on this machine. Nothing was run." in result.stderr


def test_the_script_stops_there_too() -> None:
    text = (Path(gpu.__file__).parent / "gpu.sh").read_text()
    assert text.index("gpu.py --check") < text.index("pytest -m gpu") < text.index('gpu.py "$@"')
