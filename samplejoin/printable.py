"""Makes text of records and users' functions safe for a terminal or a log: no cursor movements or forged lines."""

from __future__ import annotations

import re

#: C0 and C1 controls except tab and line feed; line and paragraph separators; marks that change the direction of
#: writing; surrogates, which cannot be encoded
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def without_controls(text: str) -> str:
    """Returns the text with control characters escaped; line ends stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """Escapes as `without_controls`, and indents further lines, so that none looks like a line of samplejoin."""
    return without_controls(text).replace("\n", "\n    ")
