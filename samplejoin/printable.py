"""Text of records and of users' functions, for a terminal or a log: it can neither move the cursor nor fake a line."""

from __future__ import annotations

import re

#: C0 and C1 with NEL, but tabs and line ends; separators of lines and paragraphs; marks that turn the direction of
#: writing; halves of characters, which no file takes
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def without_controls(text: str) -> str:
    """The text with control characters written out; its line ends stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """As `without_controls`; further lines are indented, so that none looks like a line of ours."""
    return without_controls(text).replace("\n", "\n    ")
