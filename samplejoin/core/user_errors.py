"""How errors from user functions (rule 12), and from a client that finds no broker, are worded."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MAX_CHARS = 1000
FEW = 10
MOST_BRIEF = 160
MAX_FRAMES = 8
OWN_FILES = (str(Path(__file__).parents[1]) + os.sep, "<samplejoin", "<label>")
"""The prefixes of file names of this package and of the code that it generates."""


def mistakes() -> tuple[type[BaseException], ...]:
    """What a user's function may raise and must not end more than its record with: `except mistakes()`.

    Everything, including a library's own BaseException and sys.exit(). KeyboardInterrupt is left out on purpose; for
    MemoryError see `not_for_memory`. An `except` asks for its types when something was raised, so the answer can
    depend on it.
    """
    kind = sys.exc_info()[0]
    return () if kind is not None and issubclass(kind, KeyboardInterrupt) else (BaseException,)


def trace_of(error: BaseException) -> str:
    """The last frames of a user's function, without those of this package; of the errors that caused it too.

    Empty if the user's code has no part in it (a label expression), or the error does not let itself be shown.
    """
    try:
        shown = traceback.TracebackException.from_exception(error)
        link: traceback.TracebackException | None = shown
        theirs = False
        while link is not None:  # an aggregate's error is the cause of one of ours, which names the field
            frames = [frame for frame in link.stack if not frame.filename.startswith(OWN_FILES)]
            link.stack = traceback.StackSummary.from_list(frames[-MAX_FRAMES:])
            theirs = theirs or bool(frames)
            link = link.__cause__ or link.__context__
        return "".join(shown.format()) if theirs else ""
    except mistakes():
        return ""


def said(error: BaseException) -> str:
    """Returns type and message; the type alone if there is no message, or reading it raises."""
    try:
        name = type(error).__name__
    except mistakes():  # a user's metaclass
        name = "an error"
    try:
        text = str(error)
    except mistakes():
        text = ""
    if not text or text == name or text.startswith(f"{name}: "):
        return (text or name)[:MAX_CHARS]
    return f"{name}: {text}"[:MAX_CHARS]


def not_for_memory(error: BaseException, where: str) -> None:
    """Raises MemoryError, saying where, if that is what was raised: it is not the record's fault, nor the sample's.

    A dead letter for it would lose what another worker, or this one with more room, joins.
    """
    if issubclass(type(error), MemoryError):
        text = said(error).removeprefix("MemoryError").removeprefix(": ")
        raise MemoryError(f"{where}: {text}" if text else where) from error


def counted(count: int, one: str, more: str | None = None) -> str:
    """`1 window`, `2,000 windows`: the number with its noun, `more` where the plural is not formed with an s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def few(names: Iterable[object]) -> str:
    """Returns the first ten names as text."""
    shown = [str(name)[:60] for name in islice(names, FEW + 1)]
    return ", ".join([*shown[:FEW], *(["..."] if len(shown) > FEW else [])]) or "nothing"


def brief(error: BaseException) -> str:
    """Returns the first sentence of `said`: the client's errors are long."""
    return re.split(r"(?<=[.;])\s|\n", said(error), maxsplit=1)[0][:MOST_BRIEF].rstrip(".;")


def why_away(error: BaseException) -> str:
    """Words an error of brokers that do not answer: what to check, without the client's list of addresses."""
    reason = re.sub(r" from \[.*", "", said(error), flags=re.DOTALL)
    return f"is it running, is the port right, does it want TLS or SASL? ({reason})"
