"""What the references of a job stand for, so that nothing that is said of the job shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_Path = tuple[str | int, ...]

_IN_ANY_SENTENCE = 6
"""Shorter values are not looked for in what is said of other places: too many words and numbers are like them."""
_IN_A_WORD = 4
"""Shorter words are not looked for inside a value."""
_WORD = re.compile(r"\w+")


@dataclass(repr=False)
class Secrets:
    """Values that stand behind references, and the places they were given at. All of them are taken for secrets."""

    #: value, or a part of it that is a value of its own -> the reference
    _references: dict[str, str] = field(default_factory=dict)
    _places: dict[_Path, list[str]] = field(default_factory=dict)

    def add(self, path: _Path, reference: str, value: str) -> None:
        """A reference at a place of the job, and what it stands for."""
        self._places.setdefault(path, []).append(value)
        for form in (value, *map(str.strip, value.split(","))):
            for shown in (form, repr(form)[1:-1]):
                if shown:
                    self._references.setdefault(shown, reference)
        self._references[value] = reference
        self._references.pop("", None)

    def shown(self, value: str) -> str:
        """A value of the job as the job file has it."""
        return self._references.get(value) or self.masked(value)

    def masked(self, text: str, path: _Path | None = None) -> str:
        """The text with every value as its reference; of what is said of its own place no word of a value is left."""
        given = [value for place, values in self._places.items() if _near(place, path) for value in values]
        for value in sorted(self._references, key=len, reverse=True):
            if len(value) >= _IN_ANY_SENTENCE or any(value in whole for whole in given):
                reference = self._references[value]
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", lambda _: reference, text)  # noqa: B023  used at once
        return _without_words(text, given, set(self._references.values())) if given else text


def _near(place: _Path, path: _Path | None) -> bool:
    """Whether what is said of `path` speaks of the value at `place`: of it, a part of it, or what it is part of."""
    return path is not None and (path[: len(place)] == place or place[:-1] == path)


def _without_words(text: str, values: list[str], references: set[str]) -> str:
    """The text without the words it shares with the values, its references left as they are."""
    words = {word for value in values for word in _WORD.findall(value)}

    def kept(match: re.Match[str]) -> str:
        word = match[0]
        shared = word in words or (len(word) >= _IN_A_WORD and any(word in value for value in values))
        return "..." if shared else word

    parts = re.split("(" + "|".join(map(re.escape, sorted(references, key=len, reverse=True))) + ")", text)
    return "".join(part if part in references else _WORD.sub(kept, part) for part in parts)
