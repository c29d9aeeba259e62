"""Overrides values of the job file: command line before environment before file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from samplejoin.core.values import Fields
from samplejoin.errors import did_you_mean
from samplejoin.job.errors import Issue, Path, Place, Places, dotted
from samplejoin.job.yamlfile import parse_value

PREFIX = "SAMPLEJOIN_"
_IGNORED = re.compile(
    r"SAMPLEJOIN_(JOB|INSTANCE_ID|DRAIN|WEB_BIND|LOG_FORMAT|SESSION_TIMEOUT_MS|KAFKA_JARS|REQUIRE_KAFKA|MODEL_SEEDS"
    r"|TEST_.*)"
)
_KUBERNETES = re.compile(
    r"SAMPLEJOIN_(?!.*__)(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)=.*"
    r"|SAMPLEJOIN_(.*_)?PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)
"""Variables that Kubernetes sets in pods for services named `samplejoin` or `samplejoin-…`."""
_EXAMPLE = "--set streams.click.topic=clicks"
#: sections in which a plain string stands for a mapping with this one key
_SHORT = {"outputs": "topic", "sample": "from"}


class Overlay:
    """Lays values over a job's data. It keeps the text of each, in case the key needs text."""

    def __init__(self, data: Fields, places: Places) -> None:
        self.data = data
        self.places = places
        self.texts: dict[Path, str] = {}
        self.issues: list[Issue] = []
        #: paths of mappings that were created for a value below them -> hint to what may have been meant
        self.made: dict[Path, str | None] = {}

    def environment(self, environ: Mapping[str, str]) -> None:
        """Lays over variables such as `SAMPLEJOIN_STREAMS__CLICK__TOPIC=clicks`; names match in any case."""
        for name in sorted(environ):
            theirs = _IGNORED.fullmatch(name) or _KUBERNETES.fullmatch(f"{name}={environ[name]}")
            if name.startswith(PREFIX) and not theirs:
                parts = name.removeprefix(PREFIX).split("__")
                self._lay(self._spelled(parts), environ[name], Place(f"environment {name}"))

    def command_line(self, values: Mapping[str, str] | Iterable[str]) -> None:
        """Lays over values given as `{"streams.click.topic": "clicks"}` or `streams.click.topic=clicks`."""
        for text in [f"{k}={v}" for k, v in values.items()] if isinstance(values, Mapping) else values:
            name, equals, value = text.partition("=")
            if equals:
                self._lay(tuple(name.split(".")), value, Place(f"--set {name}"))
            else:
                self._refuse((name,), Place("--set"), "has no value; write KEY=VALUE", _EXAMPLE)

    def text_instead(self, path: Path) -> bool:
        """Replaces a value by the text that gave it. Returns False if no value was laid there, or only its text."""
        text = self.texts.pop(path, None)
        if text is None:
            return False
        parent = self.data
        for part in path[:-1]:
            parent = parent[part]  # type: ignore[index]  # these paths consist of names only
        parent[path[-1]] = text  # type: ignore[index]
        return True

    def _refuse(self, path: Path, place: Place, message: str, hint: str) -> None:
        self.places.known[path] = place
        self.issues.append(Issue(path, message, hint))

    def _lay(self, path: tuple[str, ...], text: str, place: Place) -> None:
        if not all(path):
            self._refuse(path, place, "has an empty name in its path", _EXAMPLE)
            return
        here: Any = self.data
        for depth, part in enumerate(path[:-1], 1):
            value = here.get(part)
            if isinstance(value, str) and depth == 2 and path[0] in _SHORT:
                value = {_SHORT[path[0]]: value}
            elif value is None:
                value = {}
                self.places.known[path[:depth]] = place
                self.made[path[:depth]] = did_you_mean(part, here.keys() - {part})
            elif not isinstance(value, dict):
                whole = dotted(path[:depth])
                self._refuse(path, place, f"{whole} has no keys below it", f"set {whole} as a whole")
                return
            here[part] = value
            here = value
        for known in [p for p in self.places.known if p[: len(path)] == path]:
            del self.places.known[known]
        self.places.known[path] = place
        self.texts[path] = text
        here[path[-1]] = text if path[-1] == "password" else parse_value(text)

    def hinted(self, issue: Issue) -> Issue:
        """Returns the issue; if it is about a mapping created here, with a hint to what may have been meant."""
        near = next((hint for path, hint in self.made.items() if issue.path[: len(path)] == path), None)
        return issue._replace(hint=issue.hint or near)

    def _spelled(self, parts: list[str]) -> tuple[str, ...]:
        """Returns the names as the file spells them, or else in lower case."""
        here: Any = self.data
        path = []
        for part in parts:
            names = here if isinstance(here, dict) else {}
            name = next((n for n in names if n.lower() == part.lower()), part.lower())
            path.append(name)
            here = names.get(name)
        return tuple(path)
