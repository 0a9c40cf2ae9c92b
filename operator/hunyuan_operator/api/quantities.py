"""How Kubernetes writes amounts as text."""

import re
from fractions import Fraction

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?\d{1,2}))?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_quantity(text: str) -> Fraction:
    """Read a quantity, such as ``96Gi``, ``500m`` or ``1e9``, exactly.

    Raises:
        ValueError: the text is something else.

    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 8, 500m or 96Gi")
    suffix, exponent = match["suffix"] or "", int(match["exponent"] or 0)
    if suffix in _BINARY:
        return Fraction(match["number"]) * (1 << _BINARY[suffix])
    return Fraction(f"{match['number']}e{_DECIMAL.get(suffix, 0) + exponent}")
