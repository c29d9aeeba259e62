"""Resolves the references `${env:NAME}` and `${file:path}` in the strings of a job.

References are for secrets in `security`, and for values that differ between deployments. Values that are code or name a
field cannot have them, because errors of records quote these values in logs, dead letters and pages of a worker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from samplejoin.errors import RefusedError, did_you_mean
from samplejoin.job.errors import Issue, Path
from samplejoin.job.files import read_small
from samplejoin.job.secrets import Secrets

MAX_BYTES = 64 << 10
_REFERENCE = re.compile(r"(\$?)\$\{([^{}]*)\}")
#: top-level keys, and keys of a stream, whose values a running worker quotes
_QUOTED = {"key", "sample", "label", "format", "junk_keys"}
_QUOTED_OF_STREAM = {"decode", "columns", "delimiter", "clean", "time", "time_unit", "id"}
_OPEN = re.compile(r"(?<!\$)\$\{")


_INSTEAD = "write the value itself, or set it with --set or in the environment"


def _is_quoted(path: Path) -> bool:
    of_stream = len(path) > 2 and path[0] == "streams" and path[2] in _QUOTED_OF_STREAM
    return of_stream or (bool(path) and path[0] in _QUOTED)


class References:
    """Resolves the references of one job, and adds their values to `secrets`."""

    def __init__(self, base_dir: FilePath, environ: Mapping[str, str], secrets: Secrets) -> None:
        self.base_dir = base_dir
        self.environ = environ
        self.secrets = secrets
        self.issues: list[Issue] = []

    def resolve(self, value: object, path: Path = ()) -> Any:
        """Returns the value with all references in its strings resolved; adds to `issues` those that cannot be."""
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {key: self.resolve(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*path, i)) for i, item in enumerate(value)]
        return value

    def _text(self, text: str, path: Path) -> str:
        if _OPEN.search(_REFERENCE.sub("", text)):
            self.issues.append(Issue(path, "has a ${ without a closing }", "${env:NAME}; write $${ for a plain ${"))
            return text

        def look_up(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            if _is_quoted(path):
                self.issues.append(
                    Issue(path, "a reference is not allowed here: errors of records show the value", _INSTEAD)
                )
                return match[0]
            try:
                value = self._look_up(match[2])
            except RefusedError as error:
                self.issues.append(Issue(path, str(error), error.hint))
                return match[0]
            self.secrets.add(path, match[0], value)
            return value

        resolved = _REFERENCE.sub(look_up, text)
        if resolved != text:
            self.secrets.add(path, text, resolved)
        return resolved

    def _look_up(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        if kind == "env" and name:
            if name not in self.environ:
                raise RefusedError(f"no environment variable {name}", did_you_mean(name, self.environ) or "set it")
            return self.environ[name]
        if kind == "file" and name:
            return self._file(self.base_dir / name)
        raise RefusedError(
            f"${{{reference}}} is not a valid reference", "${env:NAME} or ${file:/path}; $${ for a plain ${"
        )

    def _file(self, path: FilePath) -> str:
        try:
            return read_small(path, MAX_BYTES).decode().rstrip("\r\n")
        except RefusedError as error:
            raise RefusedError(f"{path} {error}", error.hint) from None
        except OSError as error:
            raise RefusedError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise RefusedError(f"{path} is not UTF-8 text") from None
