"""`${env:NAME}` and `${file:path}` in the strings of a job. What they stand for is never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from samplejoin.job.errors import Issue, Path, Problem, RefusedError, did_you_mean, dotted

MAX_BYTES = 64 << 10
_SHOWN_BELOW = 4
"""Shorter values are masked only in what is said of their own place: they occur in any sentence."""

_REFERENCE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_OPEN = re.compile(r"(?<!\$)\$\{")


class References:
    """Resolves the references of one job and masks what they stood for."""

    def __init__(self, base_dir: FilePath, environ: Mapping[str, str]) -> None:
        self.base_dir = base_dir
        self.environ = environ
        self.issues: list[Issue] = []
        #: what a reference stood for -> the reference
        self.secrets: dict[str, str] = {}
        self.places: dict[str, Path] = {}

    def resolve(self, value: Any, path: Path = ()) -> Any:
        """The value with all references in its strings resolved; what cannot be is in `issues`."""
        if isinstance(value, str):
            return self._text(value, path) if "${" in value else value
        if isinstance(value, dict):
            return {key: self.resolve(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*path, i)) for i, item in enumerate(value)]
        return value

    def masked(self, problem: Problem) -> Problem:
        """The problem with every resolved value shown as its reference."""
        message, hint = problem.message, problem.hint or ""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= _SHOWN_BELOW or dotted(self.places[secret]) == problem.path:
                word = re.compile(rf"(?<!\w){re.escape(secret)}(?!\w)")
                message = word.sub(lambda _: self.secrets[secret], message)  # noqa: B023  used at once
                hint = word.sub(lambda _: self.secrets[secret], hint)  # noqa: B023
        return replace(problem, message=message, hint=hint or None)

    def _text(self, text: str, path: Path) -> str:
        if _OPEN.search(_REFERENCE.sub("", text)):
            self.issues.append(Issue(path, "has a ${ without its }", "${env:NAME}; write $${ for a plain ${"))
            return text

        def look_up(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            try:
                value = self._look_up(match[2])
            except RefusedError as error:
                self.issues.append(Issue(path, str(error), error.hint))
                return match[0]
            self._remember(value, match[0], path)
            return value

        resolved = _REFERENCE.sub(look_up, text)
        if resolved != text:
            self._remember(resolved, text, path)
        return resolved

    def _remember(self, value: str, reference: str, path: Path) -> None:
        for form in {value, repr(value)[1:-1]} - {""}:
            self.secrets[form] = reference
            self.places[form] = path

    def _look_up(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        if kind == "env" and name:
            if name not in self.environ:
                raise RefusedError(f"the environment has no {name}", did_you_mean(name, self.environ) or "set it")
            return self.environ[name]
        if kind == "file" and name:
            return self._file(self.base_dir / name)
        raise RefusedError(f"${{{reference}}} is no reference", "${env:NAME} or ${file:/path}; $${ for a plain ${")

    def _file(self, path: FilePath) -> str:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise RefusedError(f"{path} is larger than {MAX_BYTES >> 10} KiB")
            return content.decode().rstrip("\r\n")
        except OSError as error:
            raise RefusedError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise RefusedError(f"{path} is not UTF-8 text") from None
