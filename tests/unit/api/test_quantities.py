"""Amounts, as Kubernetes writes them."""

from fractions import Fraction

import pytest
from hunyuan_operator.api.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("96Gi", 96 * 2**30),
        ("1.5Ki", 1536),
        (".5Mi", 2**19),
        ("96000000000", 96 * 10**9),
        ("96G", 96 * 10**9),
        ("9.6e10", 96 * 10**9),
        ("1E3", 1000),
        ("500m", Fraction(1, 2)),
        ("2k", 2000),
        ("-1", -1),
        ("0", 0),
    ],
)
def test_read(text: str, value: Fraction | int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "96 Gi", "96GB", "96gi", "1e", "1e3Gi", "٣", "1_000", "inf", "1e999"])
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)
