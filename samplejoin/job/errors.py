"""What is wrong with a job, and where: every mistake of a user becomes a `Problem`, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from samplejoin.errors import SamplejoinError
from samplejoin.job.secrets import Secrets

if TYPE_CHECKING:
    from samplejoin.job.model import JobModel

Path = tuple[str | int, ...]
"""A place in the job file: `("streams", "click", "time_unit")`."""


class Place(NamedTuple):
    """Where a value was written: a file with its line, or the environment variable or option that gave it."""

    file: str | None = None
    line: int | None = None


NOWHERE = Place()


@dataclass(frozen=True)
class Problem:
    """One mistake. `path` is dotted, `line` counts from 1; `file` is None if the job never was a file."""

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
    """A job that cannot run, with all that is wrong with it, one problem a line.

    `rest`: a model of its right parts, for `compile_issues`, if there is one.
    """

    def __init__(self, problems: Iterable[Problem], rest: JobModel | None = None) -> None:
        self.rest = rest
        self.problems = sorted(problems, key=lambda p: (p.file or "", p.line or 0))
        super().__init__("\n".join(map(str, self.problems)))


class Issue(NamedTuple):
    """A mistake before it is known where it was written."""

    path: Path
    message: str
    hint: str | None = None


class ConflictError(ValueError):
    """Values that are fine alone but not together."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__("; ".join(f"{dotted(i.path)}: {i.message}" for i in issues))
        self.issues = issues


@dataclass
class Places:
    """Path -> where its value was written."""

    #: what is said of a path nobody wrote, e.g. a missing key at the top
    default: Place = NOWHERE
    known: dict[Path, Place] = field(default_factory=dict)
    #: what references stand for: shown by none of the problems
    secrets: Secrets = field(default_factory=Secrets)

    def of(self, path: Path) -> Place:
        """The place of the path, else of the nearest part of the job around it."""
        for length in range(len(path), 0, -1):
            place = self.known.get(path[:length])
            if place is not None:
                return place
        return self.default

    def problem(self, issue: Issue) -> Problem:
        """The issue with its place, secrets masked."""
        file, line = self.of(issue.path)
        message = self.secrets.masked(issue.message, issue.path)
        hint = issue.hint and self.secrets.masked(issue.hint, issue.path)
        return Problem(dotted(issue.path), file, line, message, hint)


def dotted(path: Path) -> str:
    """`("key", 1)` as `key.1`."""
    return ".".join(map(str, path))
