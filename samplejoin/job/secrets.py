"""The values behind a job's references, which no message about the job may show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_Path = tuple[str | int, ...]

_IN_ANY_SENTENCE = 6
"""Shorter values are masked only in messages about their own place: ordinary words and numbers can equal them."""
_IN_A_WORD = 4
"""Shorter words are masked only if they are a whole word of a value."""
_WORD = re.compile(r"\w+")


@dataclass(repr=False)
class Secrets:
    """Values of references, and the paths where they are used. All of them are treated as secrets."""

    #: value, or a part of it between commas -> the reference
    _references: dict[str, str] = field(default_factory=dict)
    _places: dict[_Path, list[str]] = field(default_factory=dict)

    def add(self, path: _Path, reference: str, value: str) -> None:
        """Adds the value of a reference at a path of the job."""
        self._places.setdefault(path, []).append(value)
        for form in (value, *map(str.strip, value.split(","))):
            for shown in (form, repr(form)[1:-1]):
                if shown:
                    self._references.setdefault(shown, reference)
        self._references[value] = reference
        self._references.pop("", None)

    def shown(self, value: str) -> str:
        """Returns a value of the job as the job file has it: with references in place of their values."""
        return self._references.get(value) or self.masked(value)

    def masked(self, text: str, path: _Path | None = None) -> str:
        """Returns the text with references in place of values; a value at its own place is masked word by word."""
        given = [value for place, values in self._places.items() if _near(place, path) for value in values]
        for value in sorted(self._references, key=len, reverse=True):
            if len(value) >= _IN_ANY_SENTENCE or any(value in whole for whole in given):
                reference = self._references[value]
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", lambda _: reference, text)  # noqa: B023  used at once
        return _without_words(text, given, set(self._references.values())) if given else text


def _near(place: _Path, path: _Path | None) -> bool:
    """Returns whether a message about `path` concerns the value at `place`, a part of it, or its parent."""
    return path is not None and (path[: len(place)] == place or place[:-1] == path)


def _without_words(text: str, values: list[str], references: set[str]) -> str:
    """Returns the text without the words that it shares with the values; references stay."""
    words = {word for value in values for word in _WORD.findall(value)}

    def kept(match: re.Match[str]) -> str:
        word = match[0]
        shared = word in words or (len(word) >= _IN_A_WORD and any(word in value for value in values))
        return "..." if shared else word

    parts = re.split("(" + "|".join(map(re.escape, sorted(references, key=len, reverse=True))) + ")", text)
    return "".join(part if part in references else _WORD.sub(kept, part) for part in parts)
