"""Text of records for a terminal: it neither moves the cursor nor looks like a line of ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.commands.records import _shown_value, _text
from samplejoin.printable import printable, without_controls


@pytest.mark.parametrize("hostile", ["\x1b]52;c;aGk=\x07", "\x1b[2J", "\x9b31m", "\u202eevil", "\ud800", "\r"])
def test_what_moves_a_cursor_or_cannot_be_written_is_written_out(hostile):
    shown = printable(f"before {hostile} after")
    assert hostile not in shown
    assert shown.startswith("before \\")
    shown.encode()


@given(st.text())
def test_further_lines_are_indented_and_line_ends_stay(text):
    assert without_controls(text).count("\n") == text.count("\n")
    assert all(line.startswith("    ") for line in printable(text).split("\n")[1:])


def test_a_record_shown_on_a_terminal_is_escaped_all_through():
    hostile = b"\x1b]52;c;aGk=\x07\nsamples: all fine"
    record = SimpleNamespace(key=hostile, value=hostile, headers=[("h", hostile)])
    for shown in (_shown_value(record), _text(record)):
        assert "\x1b" not in shown
        assert not [line for line in shown.split("\n") if line.startswith("samples: ")]
