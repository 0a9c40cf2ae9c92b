"""Answers are compared word for word, and by their fields."""

import json

import pytest

from hunyuan_runtime.train.scoring import Answer, accuracy, field_accuracy


def answers(*pairs: tuple[str, str]) -> list[Answer]:
    return [Answer(line=line, expected=expected, got=got) for line, (expected, got) in enumerate(pairs, start=1)]


def test_exact_is_all_but_the_white_space_around() -> None:
    assert accuracy(answers(("无", "无"), ("宝马x1", " 宝马x1\n"), ("宝马x1", "宝马x3"), ("a b", "ab"))) == 0.5


@pytest.mark.parametrize(
    ("expected", "got", "part"),
    [
        ('{"a": 1, "b": "x"}', '{"b": "x", "a": 1}', 1),
        ('{"a": 1, "b": "x"}', '{"a": 1, "b": "y"}', 1 / 3),
        ('{"a": 1, "b": "x"}', '{"a": 1}', 1 / 2),
        ('{"a": 1}', '{"a": 1, "made": "up"}', 1 / 2),
        ('{"a": {"b": 1, "c": 2}}', '{"a": {"b": 1, "c": 3}}', 1 / 3),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', 0),
        ('{"a": 1}', '{"a": 1', 0),
        ('{"a": 1}', "a is 1", 0),
        ('{"a": "1"}', '{"a": 1}', 0),
        ("宝马x1；凯迪拉克xt4；奥迪q3", "奥迪q3；宝马x1；凯迪拉克xt4", 1),
        ("宝马x1；奥迪q3", "宝马x1", 1 / 2),
        ("宝马x1；奥迪q3", "宝马x1；奥迪q5", 1 / 3),
    ],
)
def test_fields_count_from_both_sides(expected: str, got: str, part: float) -> None:
    assert field_accuracy(answers((expected, got))) == pytest.approx(part)


def test_fields_of_all_answers_count_alike() -> None:
    """Not answers: one of many fields weighs more. And not characters: the first of an answer says little."""
    many = json.dumps({str(number): number for number in range(9)})
    assert field_accuracy(answers((many, many), ("宝马x1", "宝马x3"))) == pytest.approx(9 / 11)


def test_answers_without_fields_have_no_accuracy_of_their_own() -> None:
    assert field_accuracy(answers(("Paris", "Paris"), ("[1]", "[1]"))) is None
