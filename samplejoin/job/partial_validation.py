"""Finds further mistakes in a job with invalid values: replaces these values and checks the other parts as usual.

It leaves out issues that may follow from a mistake that is known already, so it reports too little rather than
something false.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from samplejoin.core.values import Fields
from samplejoin.job import validation
from samplejoin.job.errors import Issue, Path
from samplejoin.job.model import ALONE, JobModel

ROUNDS = 3
"""The first round removes an invalid value, a later one supplies it if it is required."""
_NEEDED: dict[str, object] = {"name": "job", "window": "1h", "key": ["key"], "sample": {}}
_PARTS = ("streams", "sample", "key", "label", "format")


def model_of_rest(
    data: Mapping[str, object], errors: Iterable[Mapping[str, Any]]
) -> tuple[JobModel, list[Issue]] | None:
    """Returns a model with the invalid values replaced, and the issues between its valid parts.

    `errors` are those of the `ValidationError`. Returns None if too little is left. The model may break rules: it is
    for `compile_issues`, not for running.
    """
    mended: dict[str, object] = copy.deepcopy(dict(data))
    wrong: set[Path] = set()
    for _ in range(ROUNDS):
        paths = {tuple(part for part in error["loc"] if part != "[key]") for error in errors} - {()}
        wrong |= paths
        if not all(_mend(mended, path) for path in paths):
            return None
        try:
            model = JobModel.model_validate(mended, context=ALONE)
        except ValidationError as error:
            errors = error.errors(include_url=False)
        else:
            issues = validation.issues_of(model) if wrong else ()
            return model, [issue for issue in issues if not _may_follow(issue, wrong, model)]
    return None


def _mend(data: Fields, path: Path) -> bool:
    """Replaces or removes the invalid value at the path. Returns False if too little is left to check."""
    top = path[0]
    streams = data.get("streams")
    if not isinstance(streams, dict) or not streams or path == ("streams",):
        return False
    if top == "sample" and len(path) > 1 and isinstance(data.get("sample"), dict):
        data["sample"][path[1]] = {"from": next(iter(streams)), "agg": "count"}
    elif top == "streams":
        stream = streams.get(path[1])
        if len(path) == 2 or not isinstance(stream, dict):
            return False
        stream.pop(path[2], None)
        if path[2] == "role":
            stream["role"] = "label"
    elif top in _NEEDED:
        data[str(top)] = _NEEDED[str(top)]
    else:
        data.pop(str(top), None)
    return True


def _may_follow(issue: Issue, wrong: set[Path], model: JobModel) -> bool:
    """Returns whether an issue between parts may follow from an invalid value."""
    path = issue.path
    streams = {each[1] for each in wrong if each[0] == "streams"}
    if any(each[: len(path)] == path or path[: len(each)] == each for each in wrong):
        return True
    if path[0] == "streams" and len(path) > 1:
        return path[1] in streams
    if path[0] == "sample" and len(path) > 1:
        return str(path[1]) in model.sample and model.sample[str(path[1])].stream in streams
    return path[0] not in _PARTS and any(each[0] not in _PARTS for each in wrong)
