"""Loads a job from file, environment and command line into one model, or raises all its problems."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from samplejoin.errors import RefusedError
from samplejoin.job.errors import Issue, JobError, Path, Places
from samplejoin.job.files import read_small
from samplejoin.job.interpolation import References
from samplejoin.job.model import JobModel
from samplejoin.job.overrides import Overlay
from samplejoin.job.partial_validation import model_of_rest
from samplejoin.job.validation_messages import issues_of
from samplejoin.job.yamlfile import MAX_BYTES, parse_file

Sets = Mapping[str, str] | Iterable[str]


def load_job(path: FilePath | str, sets: Sets = (), environ: Mapping[str, str] | None = None) -> JobModel:
    """Loads a job file. `sets` are values of the command line (`{"a.b": "c"}` or `a.b=c`).

    `environ` is `os.environ` unless given. Raises JobError with every problem found, secrets masked.
    """
    path = FilePath(path)
    data, places = parse_file(_read(path), str(path))
    return model_of(data, path.parent, places, sets, environ)


def model_of(
    data: Mapping[str, object],
    base_dir: FilePath | str = ".",
    places: Places | None = None,
    sets: Sets = (),
    environ: Mapping[str, str] | None = None,
) -> JobModel:
    """Loads a job from a mapping of the same form as a job file. Raises JobError as `load_job`."""
    environ = os.environ if environ is None else environ
    overlay = Overlay(_copy(data), places or Places())
    overlay.environment(environ)
    overlay.command_line(sets)
    issues = overlay.issues + _literal_secrets(overlay)
    rest: JobModel | None = None
    references = References(FilePath(base_dir), environ, overlay.places.secrets)
    while not issues:
        resolved = references.resolve(overlay.data)
        issues = references.issues
        if issues:
            break
        try:
            model = JobModel.model_validate(resolved)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            as_text = [overlay.text_instead(e["loc"]) for e in errors if e["type"] == "string_type"]
            if not any(as_text):  # otherwise `--set name=123` means text: validate again with it
                issues = issues_of(errors)
                if left := model_of_rest(resolved, errors):
                    rest, more = left
                    rest._places = overlay.places
                    issues += more
        else:
            model._places = overlay.places
            return model
    raise JobError((overlay.places.problem(overlay.hinted(issue)) for issue in issues), rest)


def _read(path: FilePath) -> str:
    def refused(message: str, hint: str | None = None) -> JobError:
        return JobError([Places().problem(Issue((str(path),), message, hint))])

    try:
        content = read_small(path, MAX_BYTES)
    except FileNotFoundError:
        raise refused("there is no such file", "samplejoin init NAME creates one") from None
    except RefusedError as error:
        raise refused(str(error), error.hint) from None
    except (OSError, ValueError) as error:
        raise refused(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise refused(f"is not UTF-8 text: byte {content[error.start]:#x} in line {line}") from error


def _copy(value: object) -> Any:
    """Copies mappings and lists, so that values laid over them do not change the caller's."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _literal_secrets(overlay: Overlay) -> list[Issue]:
    """Refuses a password that is written in a file or on a command line. In the environment it is allowed."""
    path: Path = ("security", "password")
    security = overlay.data.get("security")
    password = security.get("password") if isinstance(security, dict) else None
    place = overlay.places.of(path)
    if password is None or (place.file or "").startswith("environment "):
        return []
    if isinstance(password, str) and password.startswith("${") and password.find("}") == len(password) - 1:
        return []
    return [Issue(path, "must be a reference", "password: ${env:KAFKA_PASSWORD} or ${file:/run/secrets/kafka}")]
