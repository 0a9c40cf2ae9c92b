"""Which pairs are measured at the same time."""

from itertools import combinations

import pytest

from hunyuan_runtime.preflight.schedule import rounds


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, [[]]),
        (2, [[(0, 1)]]),
        (3, [[(1, 2)], [(0, 2)], [(0, 1)]]),
        (4, [[(0, 3), (1, 2)], [(0, 2), (1, 3)], [(0, 1), (2, 3)]]),
    ],
)
def test_small_groups(ranks: int, expected: list[list[tuple[int, int]]]) -> None:
    assert list(rounds(ranks)) == expected


@pytest.mark.parametrize("ranks", [*range(1, 18), 64, 128])
def test_every_pair_meets_once_and_nobody_is_in_two_places(ranks: int) -> None:
    found = list(rounds(ranks))
    assert sorted(pair for pairs in found for pair in pairs) == list(combinations(range(ranks), 2))
    for pairs in found:
        present = [rank for pair in pairs for rank in pair]
        assert len(present) == len(set(present))
    assert len(found) == (ranks - 1 if ranks % 2 == 0 else ranks)
