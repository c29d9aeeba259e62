"""Labels: functions and expressions, exact types, down-sampling (rules 12 and 14)."""

from __future__ import annotations

from enum import IntEnum

import pytest

from tests.job.compiling import compiled, problems


class Odd(float):
    """A float that is none by exact type, as numpy's are."""


class Kind(IntEnum):
    """An int that is none by exact type."""

    A = 1


def test_labels(folder):
    label = compiled(folder, label="clicks > 1 and pos == 3").spec.label
    assert label is not None
    assert label({"uid": 1, "clicks": 2, "pos": 3}) == 1
    label = compiled(folder, label="functions:label").spec.label
    assert label is not None
    assert label({"clicks": 5}) == 5


@pytest.mark.rule(12)
@pytest.mark.parametrize("name", ["no_label", "nan_label"])
def test_a_label_function_that_returns_nonsense_raises(folder, name):
    label = compiled(folder, label=f"functions:{name}").spec.label
    assert label is not None
    with pytest.raises(ValueError, match=f"functions:{name} returned"):
        label({})


@pytest.mark.rule(14)
@pytest.mark.parametrize("value", [1, 0, True, 0.5, False])
def test_a_label_that_can_be_sampled(folder, value):
    label = compiled(folder, label="functions:label", keep_negatives=0.5).spec.label
    assert label is not None
    assert label({"clicks": value}) is value


@pytest.mark.rule(14)
@pytest.mark.parametrize("value", ["no", "", -1, -0.5, [1], {}])
def test_a_label_that_cannot_be_sampled_is_an_error_at_the_sample(folder, value):
    label = compiled(folder, label="functions:label", keep_negatives=0.5).spec.label
    assert label is not None
    with pytest.raises(ValueError, match="with keep_negatives a label must be a boolean or a number of at least 0"):
        label({"clicks": value})
    label = compiled(folder, label="functions:label").spec.label
    assert label is not None
    assert label({"clicks": value}) is value


@pytest.mark.rule(14)
@pytest.mark.parametrize(
    "label",
    [
        "1 if clicks else -1",
        "'yes' if clicks > 0 else 'no'",
        "clicks and 'yes'",
        "pos or -0.5",
        "[clicks]",
        "clicks - 1",
    ],
)
def test_an_expression_that_can_give_no_negative_is_a_problem(folder, label):
    """As far as it can be seen: by its constants, and by the sample that no label row joined."""
    (problem,) = problems(folder, label=label, keep_negatives=0.5)
    assert problem.path == "label"
    assert "with keep_negatives a label must be" in problem.message
    compiled(folder, label=label)


@pytest.mark.rule(12)
@pytest.mark.parametrize("value", [Odd(1.5), Odd("nan"), [Odd(2)], Kind.A, {1, 2}, b"x", "\ud83d", {1: 2}, object()])
def test_a_label_function_is_held_to_exact_types(folder, value):
    label = compiled(folder, label="functions:label").spec.label
    assert label is not None
    with pytest.raises((TypeError, ValueError), match=r"not a label"):
        label({"clicks": value})


def test_an_expression_must_hold_without_label_rows(folder):
    dwell = {"from": "click.dwell", "agg": "max"}
    (problem,) = problems(folder, sample__dwell=dwell, label="dwell > 30")
    assert "fails for a sample without label rows: TypeError" in problem.message
    assert problem.hint == "dwell is null then: write `dwell is not None and ...`"
    compiled(folder, sample__dwell=dwell, label="dwell is not None and dwell > 30")
    compiled(folder, sample__dwell=dwell, label="pos > 3 and dwell > 30")  # pos is not known beforehand
