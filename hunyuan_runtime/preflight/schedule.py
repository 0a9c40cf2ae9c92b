"""Which pairs are measured at the same time."""

from collections.abc import Iterator

Pair = tuple[int, int]


def rounds(ranks: int) -> Iterator[list[Pair]]:
    """Every pair once, in rounds in which no rank appears twice: a round-robin tournament by the circle method.

    The last rank stays, the others move on by one place from round to round, and opposite places meet. Of an odd number
    of ranks one rests in each round. There are ``ranks - 1`` rounds, or ``ranks`` if that is odd.
    """
    places = ranks + ranks % 2
    for shift in range(places - 1):
        circle = [(shift + place) % (places - 1) for place in range(places - 1)] + [places - 1]
        pairs = zip(circle[: places // 2], reversed(circle), strict=False)
        yield sorted((min(pair), max(pair)) for pair in pairs if max(pair) < ranks)
