"""How good answers are: word for word, and field by field where an answer has fields. Pure.

An answer's fields are the leaves of a JSON object, by their paths; or the items of a list as people write them,
``a；b``. Both sides count: the accuracy is the number of fields on which they agree over that of all fields of either,
so that what is made up costs as much as what is missed.
"""

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SEPARATOR = "；"

Fields = frozenset[Hashable]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One line of the evaluation's file."""

    line: int
    expected: str
    got: str

    @property
    def match(self) -> bool:
        return self.got.strip() == self.expected.strip()


def accuracy(answers: Sequence[Answer]) -> float:
    return sum(answer.match for answer in answers) / len(answers)


def field_accuracy(answers: Sequence[Answer]) -> float | None:
    """None where no expected answer has more than one field and none is JSON: it would only repeat the accuracy."""
    expected = [fields_of(answer.expected) for answer in answers]
    if not any(_is_structured(answer.expected) for answer in answers):
        return None
    got = [fields_of(answer.got) for answer in answers]
    agreed = sum(len(wanted & said) for wanted, said in zip(expected, got, strict=True))
    return agreed / sum(len(wanted | said) for wanted, said in zip(expected, got, strict=True))


def fields_of(text: str) -> Fields:
    value = _object(text)
    if value is not None:
        return frozenset(_leaves(value, ()))
    return frozenset(item for part in text.split(SEPARATOR) if (item := part.strip()))


def _is_structured(text: str) -> bool:
    return _object(text) is not None or SEPARATOR in text


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[Hashable]:
    """Path and value; a list is a leaf, since what is missing in it moves all that follows."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, json.dumps(value, ensure_ascii=False, sort_keys=True)
