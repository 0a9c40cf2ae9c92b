"""Operations of a step and the devices' peaks."""

import pytest

from hunyuan_runtime.model.config import HunYuanConfig
from hunyuan_runtime.train.flops import peak_of, step_flops, work_of

LARGE = HunYuanConfig(
    vocab_size=129024, hidden_size=6400, intermediate_size=18304, num_hidden_layers=64, num_attention_heads=80,
    num_key_value_heads=8, use_cla=True, cla_share_factor=2, num_experts=16, moe_topk=1, use_mixed_mlp_moe=True,
    num_shared_expert=1, use_qk_norm=True, tie_word_embeddings=True,
)  # fmt: skip


def test_hunyuan_large_has_two_operations_for_each_of_its_51_billion_active_weights() -> None:
    assert work_of(LARGE).forward == pytest.approx(2 * 51.32e9, rel=1e-3)


def test_attention_is_twice_two_matrix_products_with_all_heads() -> None:
    assert work_of(LARGE).attention == 4 * 64 * 80 * 80


def test_a_dense_model_has_no_gate_and_one_mlp() -> None:
    dense = HunYuanConfig(
        vocab_size=100, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    assert work_of(dense).forward == 2 * (4 * 8 * 8 + 3 * 8 * 16 + 8 * 100)


def test_training_is_three_times_the_forward_pass_and_with_frozen_weights_two() -> None:
    work = work_of(LARGE)
    assert step_flops(work, 100, 0, frozen=False) == pytest.approx(3 * 100 * work.forward)
    assert step_flops(work, 100, 0, frozen=True) == pytest.approx(2 * 100 * work.forward)
    more = step_flops(work, 100, 50, frozen=True) - step_flops(work, 100, 0, frozen=True)
    assert more == pytest.approx(3 * 100 * 50 * work.attention)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H20", 148e12),
        ("NVIDIA A800-SXM4-80GB", 312e12),
        ("Tesla T4", None),
    ],
)
def test_peaks_are_known_by_the_devices_names(device: str, peak: float | None) -> None:
    assert peak_of(device) == peak
