"""The mixture of experts as the published modelling code formulates it, written anew from its description.

An expert's capacity is the number of tokens, so nothing is ever dropped, and every expert computes that many rows.
Tokens go to (expert, place) and back by products with masks of [tokens, experts, capacity]: with T tokens and E
experts, E times the rows and masks of E · T² entries, for the same result as :class:`HunYuanMoE`'s.
"""

import torch
from torch import Tensor, nn

from hunyuan_runtime.model.modeling import HunYuanMoE


class DenseDispatchMoE(nn.Module):
    """Has the parameters of the block that it is made from, whose router chooses one expert a token."""

    def __init__(self, block: HunYuanMoE) -> None:
        super().__init__()
        self.gate = block.gate
        self.experts = block.experts
        self.shared_mlp = block.shared_mlp

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        combine = self._combine(rows)
        given = torch.einsum("sec,sm->ecm", combine.bool().to(rows.dtype), rows)
        computed = torch.stack([expert(part) for expert, part in zip(self.experts, given, strict=True)])
        routed = torch.einsum("sec,ecm->sm", combine.to(rows.dtype), computed)
        out: Tensor = self.shared_mlp(rows) + routed
        return out.view_as(x)

    def _combine(self, rows: Tensor) -> Tensor:
        """[tokens, experts, capacity]: the probability of a token's expert, at its place among that expert's tokens."""
        probabilities = nn.functional.linear(rows.float(), self.gate.wg.weight).softmax(dim=-1)
        chosen = nn.functional.one_hot(probabilities.argmax(dim=-1), len(self.experts))
        place = (chosen.cumsum(dim=0) * chosen).sum(dim=-1) - 1
        at = nn.functional.one_hot(place, len(rows))
        return (probabilities * chosen)[:, :, None] * at[:, None, :]
