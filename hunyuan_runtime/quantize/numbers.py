"""FP8 arithmetic (e4m3: four bits of exponent, three of mantissa), with one scale a tensor."""

import torch
from torch import Tensor

DTYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(DTYPE).max


def scale_of(largest: float) -> float:
    """The scale that maps ``largest`` to FP8's largest number, as the fp32 that is stored; 1 for a tensor of zeros."""
    return torch.tensor(largest / LARGEST, dtype=torch.float32).item() or 1.0


def quantised(tensor: Tensor, scale: float) -> Tensor:
    """Values beyond the scale's reach become the largest number; a plain cast would make them NaN."""
    return (tensor.float() / scale).clamp_(-LARGEST, LARGEST).to(DTYPE)


def rounded(tensor: Tensor, scale: float) -> Tensor:
    """What is left of a tensor that goes through FP8, in its own dtype."""
    return (quantised(tensor, scale).float() * scale).to(tensor.dtype)


def largest(tensor: Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0
