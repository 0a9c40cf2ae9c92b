"""FP8 with one scale a tensor."""

import pytest
import torch

from hunyuan_runtime.quantize.numbers import quantised, rounded, scale_of


def test_the_largest_number_survives() -> None:
    tensor = torch.tensor([0.0, 1.0, -7.0])
    assert rounded(tensor, scale_of(7.0))[2].item() == pytest.approx(-7.0)


def test_what_is_beyond_the_scale_becomes_the_largest_number_not_nan() -> None:
    assert quantised(torch.tensor([1e9, -1e9]), 1.0).float().tolist() == [448.0, -448.0]


def test_rounding_twice_changes_nothing() -> None:
    """The engine requantises fused tensors with their common scale: that must not move a number."""
    tensor = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    scale = scale_of(tensor.abs().max().item())
    once = quantised(tensor, scale)
    assert torch.equal(quantised(once.float() * scale, scale).view(torch.uint8), once.view(torch.uint8))


def test_a_tensor_of_zeros_has_a_scale() -> None:
    assert scale_of(0.0) == 1.0
    assert rounded(torch.zeros(3), 1.0).tolist() == [0, 0, 0]
