"""Mistakes in a job and their places. Every mistake of a user becomes a `Problem`, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from samplejoin.errors import SamplejoinError
from samplejoin.job.secrets import Secrets

if TYPE_CHECKING:
    from samplejoin.job.model import JobModel

Path = tuple[str | int, ...]
"""The path of a value in the job file: `("streams", "click", "time_unit")`."""


class Place(NamedTuple):
    """Where a value was written: a file and line, or the environment variable or option that set it."""

    file: str | None = None
    line: int | None = None


NOWHERE = Place()


@dataclass(frozen=True)
class Problem:
    """One mistake. `path` is dotted, `line` counts from 1; `file` is None if the job was not read from a file."""

    path: str
    file: str | None
    line: int | None
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = "".join(f"{part}:" for part in (self.file, self.line) if part is not None)
        where = f"{self.path}: " if self.path else ""
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{place}{' ' if place else ''}{where}{self.message}{hint}"


class JobError(SamplejoinError):
    """A job that cannot run. The message lists all problems, one per line.

    `rest` is a model of the job's valid parts, for `compile_issues`; None if there is none.
    """

    def __init__(self, problems: Iterable[Problem], rest: JobModel | None = None) -> None:
        self.rest = rest
        self.problems = sorted(problems, key=lambda p: (p.file or "", p.line or 0))
        super().__init__("\n".join(map(str, self.problems)))


class Issue(NamedTuple):
    """A mistake at a path of the job, before its file and line are looked up."""

    path: Path
    message: str
    hint: str | None = None


class ConflictError(ValueError):
    """Values that are valid alone but contradict each other."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__("; ".join(f"{dotted(i.path)}: {i.message}" for i in issues))
        self.issues = issues


@dataclass
class Places:
    """Maps paths of the job to the places where their values were written."""

    #: the place of a path that was not written, e.g. a missing top-level key
    default: Place = NOWHERE
    known: dict[Path, Place] = field(default_factory=dict)
    #: values of references, which no problem may show
    secrets: Secrets = field(default_factory=Secrets)

    def of(self, path: Path) -> Place:
        """Returns the place of the path, or else of the nearest part of the job that encloses it."""
        for length in range(len(path), 0, -1):
            place = self.known.get(path[:length])
            if place is not None:
                return place
        return self.default

    def problem(self, issue: Issue) -> Problem:
        """Returns the issue with its place, and with secrets masked."""
        file, line = self.of(issue.path)
        message = self.secrets.masked(issue.message, issue.path)
        hint = issue.hint and self.secrets.masked(issue.hint, issue.path)
        return Problem(dotted(issue.path), file, line, message, hint)


def dotted(path: Path) -> str:
    """Returns `("key", 1)` as `key.1`."""
    return ".".join(map(str, path))
