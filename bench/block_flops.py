"""Floating-point operations of a mixture of experts, forward and backward, by formula.

A product of [n, k] and [k, m] counts 2·n·k·m, everything else nothing: as :mod:`torch.utils.flop_counter` counts.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """One shared expert, and one of the others a token; all weights are trained."""

    tokens: int
    hidden: int
    intermediate: int
    experts: int

    def index_dispatch(self) -> int:
        """Three times the forward: to each product belong two of the backward pass, for input and weight."""
        return 3 * (self._router + 2 * self._mlp)

    def dense_dispatch(self) -> int:
        """All experts compute all rows, and products with masks of [tokens, experts, tokens] take rows there and back.

        There: once forward, and once for the rows' gradient. Back: once forward, twice backward.
        """
        mask = 2 * self.tokens * self.experts * self.tokens
        return 3 * (self._router + (1 + self.experts) * self._mlp) + 5 * mask * self.hidden

    @property
    def _mlp(self) -> int:
        return 6 * self.tokens * self.hidden * self.intermediate

    @property
    def _router(self) -> int:
        return 2 * self.tokens * self.hidden * self.experts


PUBLISHED = BlockShape(tokens=2048, hidden=6400, intermediate=18304, experts=16)
"""Hunyuan-Large's, with the sequence of its authors' own figures."""
