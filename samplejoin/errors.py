"""Errors that every layer may raise."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SamplejoinError(Exception):
    """An error with a message that says what is wrong, where, and what to do. It is shown without a traceback."""


class RefusedError(ValueError):
    """A value that is not acceptable. Its hint is also a note, so that tracebacks and pytest show it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint is not None:
            self.add_note(f"hint: {hint}")


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Returns a hint for an unknown word, None if no known word is similar."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not near:
        near = [name for name in names if name.lower() == word.lower()]
    return f"did you mean {near[0]!r}?" if near else None
