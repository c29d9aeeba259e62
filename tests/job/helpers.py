"""A small job that is right, and ways to make it wrong."""

from __future__ import annotations

import copy
import textwrap
from pathlib import Path
from typing import Any

import pytest

from samplejoin.job.errors import JobError, Problem
from samplejoin.job.load import load_job, model_of

JOB: dict[str, Any] = {
    "name": "feed",
    "streams": {
        "impression": {"role": "anchor", "topic": "imp", "time": "ts"},
        "click": {"role": "label", "topic": "clk", "time": "ts"},
    },
    "key": ["uid", "mid"],
    "window": "20m",
    "sample": {"pos": "impression.pos", "clicks": {"from": "click", "agg": "count"}},
}

TEXT = """\
name: feed
streams:
  impression: {role: anchor, topic: imp, time: ts}
  click:
    role: label
    topic: clk
    time: ts
key: [uid, mid]
window: 20m
sample:
  pos: impression.pos
  clicks: {from: click, agg: count}
"""


def job_data(**changes: Any) -> dict[str, Any]:
    """The small job with dotted paths changed (`__` for dots); None removes."""
    data = copy.deepcopy(JOB)
    for name, value in changes.items():
        *parents, last = name.split("__")
        here = data
        for parent in parents:
            here = here.setdefault(parent, {})
        if value is None:
            here.pop(last, None)
        else:
            here[last] = value
    return data


def model(**changes: Any):
    return model_of(job_data(**changes), environ={})


def problems_of(**changes: Any) -> list[Problem]:
    """Returns the problems of the changed job, which must have some."""
    with pytest.raises(JobError) as caught:
        model(**changes)
    return caught.value.problems


def write(folder: Path, text: str = TEXT, functions: str | None = None) -> Path:
    """Writes a job file, and functions next to it."""
    if functions is not None:
        (folder / "functions.py").write_text(textwrap.dedent(functions))
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def errors_of(path: Path, sets: Any = (), environ: dict[str, str] | None = None) -> list[str]:
    """The messages of a job file that is wrong, without the file's directory."""
    with pytest.raises(JobError) as caught:
        load_job(path, sets, environ or {})
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]
