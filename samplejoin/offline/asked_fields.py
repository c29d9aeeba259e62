"""Notes the fields that users' functions look up by `get`, `pop` or `in` although no record has them.

Such a lookup of a misspelt name raises no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from samplejoin.core.user_errors import few
from samplejoin.core.values import Value
from samplejoin.errors import did_you_mean


@dataclass
class AskedFields:
    """The names that one function was given, and those that it asked for and were absent."""

    function: str
    #: the function's argument in words: `record of click`, `sample`
    what: str
    names: dict[str, None] = field(default_factory=dict)
    absent: dict[str, None] = field(default_factory=dict)

    def given(self, values: object) -> object:
        """Returns the values as a dict that notes lookups. A dict of the user's own type stays as it is."""
        if type(values) is not dict:
            return values
        self.names.update(dict.fromkeys(map(str, values)))
        noting = _Noting(values)
        noting.absent = self.absent
        return noting

    def watching(self, function: Callable[[Any], Any]) -> Callable[[object], Any]:
        """Wraps the function to be called with a dict that notes lookups."""
        return lambda values: plain(function(self.given(values)))

    def findings(self) -> Iterator[tuple[str, bool]]:
        """Yields (message, mistake) for absent fields. A field with a similar name is a probable mistake."""
        others = []
        for name in self.absent:
            if name in self.names:
                continue
            if near := did_you_mean(name, self.names):
                yield f"{self.function} asks for {name}, which no {self.what} has ({near})", True
            else:
                others.append(name)
        if others:
            yield f"{self.function} asks for {few(others)}, which no {self.what} has; it may be optional", False


class _Noting(dict[object, object]):
    absent: dict[str, None]

    def get(self, name: object, default: object = None) -> object:
        self._note(name)
        return super().get(name, default)

    def pop(self, name: object, *default: object) -> object:
        self._note(name)
        return super().pop(name, *default)

    def __contains__(self, name: object) -> bool:
        self._note(name)
        return super().__contains__(name)

    def _note(self, name: object) -> None:
        if type(name) is str and not super().__contains__(name):
            self.absent[name] = None


def plain(value: Value) -> object:
    """Returns the value with plain dicts in place of dicts that note lookups, at any depth."""
    kind = type(value)
    if kind is _Noting or kind is dict:
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if kind is list else value
