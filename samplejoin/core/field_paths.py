"""Paths into the nested objects of a record or row, as the job file writes them: `ts`, `ctx.position`.

A backslash takes a dot, an at sign or a backslash as part of a name: `a\\.b` is the field `a.b`. A value that is no
object has no fields; what a path does not lead to is as good as null.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from samplejoin.core.values import Fields, Value

_ESCAPED = ".@\\"
_DEPTH = 3


@lru_cache(1024)
def names_of(path: str) -> tuple[str, ...]:
    """The names along a path. Raises ValueError if one is empty, or a backslash stands before anything else."""
    names, name = [], ""
    rest = iter(path)
    for char in rest:
        if char == "\\":
            char = next(rest, "")
            if not char or char not in _ESCAPED:
                raise ValueError("a backslash stands before '.', '@' or a backslash only")
            name += char
        elif char == ".":
            names.append(name)
            name = ""
        else:
            name += char
    names.append(name)
    if not all(names):
        raise ValueError("a name between the dots is empty")
    return tuple(names)


def shown(path: str) -> str:
    """The path without its backslashes: what a sample calls a key field."""
    return ".".join(names_of(path))


def escaped(name: str) -> str:
    """The path of a single field, whatever its name."""
    for char in "\\.":
        name = name.replace(char, f"\\{char}")
    return f"\\{name}" if name.startswith("@") else name


def value_at(data: Fields, path: str, missing: object = None) -> object:
    """Returns the value at the path; `missing` if there is none."""
    value: Value = data
    for name in names_of(path):
        if not isinstance(value, dict) or name not in value:
            return missing
        value = value[name]
    return value


def source_of(path: str, get: str = "get", missing: str = "None") -> str:
    """`value_at` as Python source, where `get` is the `get` of the data; `missing` is a name or a literal."""
    first, *rest = names_of(path)
    default = "" if missing == "None" else f", {missing}"
    source = f"{get}({first!r}{default})"
    for name in rest:
        source = f"(_d.get({name!r}{default}) if isinstance(_d := {source}, dict) else {missing})"
    return source


def paths_of(data: Fields, before: str = "", depth: int = _DEPTH) -> Iterator[str]:
    """The paths of all fields, nested ones too, to a depth of three."""
    for name, value in data.items():
        path = before + escaped(str(name))
        if isinstance(value, dict) and value and depth > 1:
            yield from paths_of(value, f"{path}.", depth - 1)
        else:
            yield path
