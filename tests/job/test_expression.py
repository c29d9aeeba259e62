"""Label expressions: what they can do, and what they cannot."""

from __future__ import annotations

from contextlib import suppress

import pytest

from samplejoin.errors import RefusedError
from samplejoin.job.expression import compile_expression

SAMPLE = {"clicks": 2, "dwell": None, "pos": 3, "kind": "ad", "tags": ["a", "b"], "rate": 0.5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clicks > 0", 1),
        ("clicks > 2", 0),
        ("not clicks", 0),
        ("clicks >= 1 and pos < 5 or kind == 'x'", 1),
        ("dwell is not None and dwell > 30", 0),
        ("dwell is None", 1),
        ("kind in ('ad', 'post')", 1),
        ("'b' in tags", 1),
        ("kind not in ['ad']", 0),
        ("len(tags)", 2),
        ("max(clicks, pos, 1)", 3),
        ("min(tags) == 'a'", 1),
        ("abs(-rate)", 0.5),
        ("2 if clicks > 1 else 1", 2),
        ("2 * (clicks > 1) + (pos > 5)", 2),
        ("clicks * 2 + pos // 2 - 7 % 4 / 1", 2.0),
        ("1 < clicks < 3", 1),
        ("rate", 0.5),
        ("True", 1),
        ("  clicks > 0  ", 1),
    ],
)
def test_expressions(text, expected):
    value = compile_expression(text, SAMPLE)(dict(SAMPLE))
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clicks >", "is not a valid expression"),
        ("clicks = 1", "is not a valid expression"),
        ("import os", "is not a valid expression"),
        ("", "is not a valid expression"),
        ("clics > 0", "there is no field 'clics'"),
        ("__import__('os')", "is not allowed"),
        ("__builtins__", "there is no field"),
        ("eval('1')", "is not allowed"),
        ("kind.upper()", "is not allowed"),
        ("kind.__class__", "is not allowed"),
        ("(1).__class__.__bases__[0].__subclasses__()", "is not allowed"),
        ("tags[0]", "is not allowed"),
        ("[x for x in tags]", "is not allowed"),
        ("lambda: 1", "is not allowed"),
        ("(x := 1)", "is not allowed"),
        ("f'{kind}'", "is not allowed"),
        ("{**tags}", "is not allowed"),
        ("max(*tags)", "is not allowed"),
        ("max(tags, key=len)", "is not allowed"),
        ("len(tags)(1)", "is not allowed"),
        ("9 ** 9 ** 9", r"9 \*\* 9 \*\* 9 is not allowed"),
        ("1 << 9999999", "is not allowed"),
        ("'a' * 999999999", "arithmetic is for numbers"),
        ("'%999999999d' % 1", "arithmetic is for numbers"),
        ("[1] * 999999999", "arithmetic is for numbers"),
        ("(True and 'a') * 99", "arithmetic is for numbers"),
        ("b'x'", "is not allowed"),
        ("...", "is not allowed"),
        ("await clicks", "is not allowed"),
        ("yield", "is not a valid expression"),
        ("(" * 500 + ")" * 500, "is not a valid expression"),
        ("kind is 'ad'", "'is' is for None"),
        ("clicks is 1", "'is' is for None"),
        (r"kind == '\d'", "is not a valid expression"),
        ("1" * 5000, "longer than"),
        ("clicks > 0\0", "is not a valid expression"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(RefusedError, match=message):
        compile_expression(text, SAMPLE)


def test_a_hint_for_a_misspelt_field():
    with pytest.raises(RefusedError) as caught:
        compile_expression("clics > 0", ["clicks", "pos"])
    assert caught.value.hint == "did you mean 'clicks'?"


def test_a_wrong_type_raises_when_it_is_used():
    with pytest.raises(TypeError):
        compile_expression("dwell > 3", SAMPLE)(dict(SAMPLE))


BOMBS = {"text": "x" * 9, "n": 40_000_000, "fill": "%.999999999f", "list": [1], "big": 1 << 4000, "null": None}


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text * n", "arithmetic is for numbers: text is str 'xxxxxxxxx'"),
        ("n * text", "arithmetic is for numbers: text is str"),
        ("list * n > 1", "arithmetic is for numbers: list is list"),
        ("fill % n", "arithmetic is for numbers: fill is str"),
        ("text + text == 'a'", "arithmetic is for numbers: text is str"),
        ("list + list", "arithmetic is for numbers: list is list"),
        ("(text if n else 1) * n", "arithmetic is for numbers: text if n else 1 is str"),
        ("max(text, text) * n", "arithmetic is for numbers"),
        ("null / n", "arithmetic is for numbers: null is null"),
        ("big * big", "big and big make an integer of more than 4096 bits"),
        ("big * n * n * n * n", "make an integer of more than 4096 bits"),
        ("n + 1.0 / 0", "division by zero"),
        ("n * 1e308 * 0", "the label is NaN"),
    ],
)
def test_arithmetic_is_for_numbers_that_stay_small(text, message):
    """A record of 170 bytes must not take the worker's memory."""
    with pytest.raises((TypeError, ValueError, ZeroDivisionError), match=message):
        compile_expression(text, BOMBS)(dict(BOMBS))


def test_true_counts_as_one():
    assert compile_expression("a + a * 2 - b", ["a", "b"])({"a": True, "b": False}) == 3


@pytest.mark.parametrize("name", ["Add", "_add", "operator"])
def test_fields_may_have_any_name(name):
    assert compile_expression(f"{name} + 1", [name])({name: 2}) == 3


@pytest.mark.parametrize("text", ["-" * 1900 + "1", "not " * 400 + "1", "1" + "+1" * 900, "(" * 190 + "1" + ")" * 190])
def test_deep_nesting_is_an_expression_or_refused(text):
    with suppress(RefusedError):
        assert isinstance(compile_expression(text, SAMPLE)(dict(SAMPLE)), int)
