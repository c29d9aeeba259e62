"""Values from the command line and the environment, laid over those of the file: command line > environment > file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from samplejoin.job.errors import Issue, Path, Place, Places, dotted
from samplejoin.job.yamlfile import parse_value

PREFIX = "SAMPLEJOIN_"
_IGNORED = re.compile(
    r"SAMPLEJOIN_(JOB|INSTANCE_ID|WEB_BIND|LOG_FORMAT|SESSION_TIMEOUT_MS|KAFKA_JARS|REQUIRE_KAFKA|MODEL_SEEDS|TEST_.*"
    r"|SERVICE_.*|PORT|PORT_.*)"  # Kubernetes sets these for a service called samplejoin
)
#: where a plain string is short for a mapping with one key
_SHORT = {"outputs": "topic", "sample": "from"}


class Overlay:
    """Lays values over a job's data; remembers the text of each, in case text is what is needed."""

    def __init__(self, data: dict[str, Any], places: Places) -> None:
        self.data = data
        self.places = places
        self.texts: dict[Path, str] = {}
        self.issues: list[Issue] = []

    def environment(self, environ: Mapping[str, str]) -> None:
        """`SAMPLEJOIN_STREAMS__CLICK__TOPIC=clicks`; names match whatever their case."""
        for name in sorted(environ):
            if name.startswith(PREFIX) and not _IGNORED.fullmatch(name):
                parts = name.removeprefix(PREFIX).split("__")
                self._lay(self._spelled(parts), environ[name], Place(f"environment {name}"))

    def command_line(self, values: Mapping[str, str] | Iterable[str]) -> None:
        """`{"streams.click.topic": "clicks"}`, or the same as `streams.click.topic=clicks`."""
        pairs = values.items() if isinstance(values, Mapping) else [v.partition("=")[::2] for v in values]
        for name, text in pairs:
            place = Place(f"--set {name}")
            path = tuple(name.split("."))
            if not all(path):
                self.places.known[path] = place
                self.issues.append(Issue(path, "names no value", "--set streams.click.topic=clicks"))
            else:
                self._lay(path, text, place)

    def text_instead(self, path: Path) -> bool:
        """Puts the value back as the text it was given as; False if the path was not laid over, or is text."""
        text = self.texts.pop(path, None)
        if text is None:
            return False
        parent = self.data
        for part in path[:-1]:
            parent = parent[part]  # type: ignore[index]  # paths laid over hold names only
        parent[path[-1]] = text  # type: ignore[index]
        return True

    def _lay(self, path: tuple[str, ...], text: str, place: Place) -> None:
        here: Any = self.data
        for depth, part in enumerate(path[:-1], 1):
            value = here.get(part)
            if isinstance(value, str) and depth == 2 and path[0] in _SHORT:
                value = {_SHORT[path[0]]: value}
            elif value is None:
                value = {}
            elif not isinstance(value, dict):
                self.places.known[path] = place
                hint = f"set {dotted(path[:depth])} as a whole"
                self.issues.append(Issue(path, f"{dotted(path[:depth])} has no keys below it", hint))
                return
            here[part] = value
            here = value
        for known in [p for p in self.places.known if p[: len(path)] == path]:
            del self.places.known[known]
        self.places.known[path] = place
        self.texts[path] = text
        here[path[-1]] = text if path[-1] == "password" else parse_value(text)

    def _spelled(self, parts: list[str]) -> tuple[str, ...]:
        """The names as the file spells them, else in lower case."""
        here: Any = self.data
        path = []
        for part in parts:
            names = here if isinstance(here, dict) else {}
            name = next((n for n in names if n.lower() == part.lower()), part.lower())
            path.append(name)
            here = names.get(name)
        return tuple(path)
