"""Paths: dots go into nested objects, a backslash takes them literally; the generated source agrees."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core.field_paths import escaped, names_of, shown, source_of, value_at

NAMES = st.text(alphabet="ab.@\\\\é", min_size=1, max_size=3)
DATA: Any = st.recursive(
    st.none() | st.integers(), lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=1)
)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("ts", ("ts",)),
        ("a.b.c", ("a", "b", "c")),
        (r"a\.b", ("a.b",)),
        (r"a\.b.c", ("a.b", "c")),
        (r"\@timestamp", ("@timestamp",)),
        (r"a\\.b", ("a\\", "b")),
        ("with space", ("with space",)),
    ],
)
def test_the_names_along_a_path(path, names):
    assert names_of(path) == names
    assert shown(path) == ".".join(names)


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\\", r"a\n"])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match=r"backslash|empty"):
        names_of(path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b.c", 1),
        ("n", None),
        (r"x\.y", 2),
        ("x.y", "missing"),
        ("n.x", "missing"),
        ("a.z", "missing"),
        ("l.0", "missing"),
    ],
)
def test_what_is_not_there_is_missing(path, value):
    data = {"a": {"b": {"c": 1}}, "x.y": 2, "n": None, "l": [1]}
    assert value_at(data, path, "missing") == value


@given(NAMES)
def test_any_name_can_be_written(name):
    assert names_of(escaped(name)) == (name,)


@given(st.dictionaries(NAMES, DATA, max_size=4), st.lists(NAMES, min_size=1, max_size=3))
def test_the_generated_source_agrees(data, names):
    path = ".".join(map(escaped, names))
    assert eval(source_of(path, "data.get"), {"data": data}) == value_at(data, path)
    assert eval(source_of(path, "data.get", "moment"), {"data": data, "moment": 5}) == value_at(data, path, 5)
