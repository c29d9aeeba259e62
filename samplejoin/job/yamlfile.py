"""Reads YAML with the line of every value: a small, safe part of YAML 1.2. `no` is text; duplicate keys are errors."""

from __future__ import annotations

import re
from typing import Any

import yaml

from samplejoin.core.values import Fields
from samplejoin.job.errors import Issue, JobError, Path, Place, Places, Problem, dotted

MAX_BYTES = 256 << 10
MAX_VALUES = 20_000
"""Largest number of values of a file, counted with all aliases expanded: a bound on alias bombs."""

_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Resolves scalars as YAML 1.2 does: no dates, octals or `yes`/`no`."""

    yaml_implicit_resolvers: dict[object, object] = {}  # noqa: RUF012  PyYAML's own way to set it


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_file(text: str, file: str) -> tuple[dict[str, object], Places]:
    """Returns the mapping in a YAML file, and the line of every path. Raises JobError."""
    places = Places(Place(file))
    if len(text) > MAX_BYTES:
        raise JobError([places.problem(Issue((), f"is larger than {MAX_BYTES >> 10} KiB"))])
    reader = _Reader(places, file)
    value = reader.read(text)
    if reader.issues:
        raise JobError(Problem(dotted(i.path), file, line, i.message, i.hint) for i, line in reader.issues)
    if not isinstance(value, dict):
        what = "is empty" if value is None else "must be a mapping"
        raise JobError([places.problem(Issue((), what, "name: my-job ..."))])
    return value, places


def parse_value(text: str) -> object:
    """Reads a value of the command line or the environment as YAML. Returns text that is not YAML as it is."""
    reader = _Reader(Places(), None)
    value = reader.read(text)
    return text if reader.issues or (value is None and text.strip() not in ("null", "~", "")) else value


class _Reader:
    """Turns nodes into plain data, and collects lines and issues."""

    def __init__(self, places: Places, file: str | None) -> None:
        self.places = places
        self.file = file
        self.issues: list[tuple[Issue, int | None]] = []
        self._count = 0
        self._open: set[int] = set()

    def read(self, text: str) -> object:
        """Returns the document's value; adds mistakes to `issues`."""
        try:
            node = yaml.compose(text, Loader=_Loader)
            return None if node is None else self._value(node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else None
            hint = None
            if "'\\t'" in str(error.problem):
                hint = "indent with spaces"
            elif line and "${" in "".join(text.splitlines()[line - 1 : line]):
                hint = 'quote references inside {...} and [...]: "${env:NAME}"'
            self._issue((), f"not valid YAML: {error.problem or error.context}", line, hint)
        except yaml.YAMLError as error:
            self._issue((), f"not valid YAML: {str(error).splitlines()[0]}", None)
        except RecursionError:
            self._issue((), "is nested too deeply", None)
        return None

    def _issue(self, path: Path, message: str, line: int | None, hint: str | None = None) -> None:
        self.issues.append((Issue(path, message, hint), line))

    def _value(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            if self._count == MAX_VALUES + 1:
                self._issue(path, f"more than {MAX_VALUES} values, aliases included", line)
            return None
        if id(node) in self._open:
            self._issue(path, "an alias contains itself", line)
            return None
        if path:
            self.places.known.setdefault(path, Place(self.file, line))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, line)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode, path: Path, line: int) -> Any:
        match node.tag.removeprefix(_TAG):
            case "str":
                return node.value
            case "null":
                return None
            case "bool":
                return node.value.lower() == "true"
            case "int":
                return int(node.value) if len(node.value) < 100 else node.value
            case "float":
                return float(node.value.replace(".inf", "inf").replace(".nan", "nan"))
        self._issue(path, f"the tag {node.tag} is not allowed", line)
        return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Fields:
        if node.tag != _TAG + "map":
            self._issue(path, f"the tag {node.tag} is not allowed", node.start_mark.line + 1)
        values: Fields = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                self._issue(path, "a key must be text", line, "quote it")
                continue
            key = key_node.value
            if key in lines:
                self._issue((*path, key), f"is a duplicate key: line {lines[key]} has it already", line, "remove one")
                continue
            lines[key] = line
            self.places.known[*path, key] = Place(self.file, line)
            values[key] = self._value(value_node, (*path, key))
        for other in merged:
            self._merge(values, other, path)
        return values

    def _merge(self, values: Fields, node: yaml.Node, path: Path) -> None:
        """Merges another mapping (`<<: *other`); keys that exist already stay."""
        if not isinstance(node, yaml.MappingNode):
            self._issue(path, "<< needs a mapping", node.start_mark.line + 1)
            return
        for key, value in (self._value(node, path) or {}).items():  # None: it contains itself, or is too large
            values.setdefault(key, value)
