"""The settings that a worker takes from environment variables: the job file, its identity, its port, its log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from samplejoin.engine import failpoints
from samplejoin.job.errors import JobError, Problem
from samplejoin.job.overrides import PREFIX
from samplejoin.job.validation_messages import issues_of

FAILPOINTS = f"{PREFIX}TEST_FAILPOINTS"
#: the second switch: unless it is 1, an environment that arms failpoints is refused
ALLOW_FAILPOINTS = f"{PREFIX}TEST_ALLOW_FAILPOINTS"


class WorkerSettings(BaseSettings):
    """Environment variables of a worker, all with the prefix `SAMPLEJOIN_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    job: Path = Field(Path("job.yaml"), description="The job file.")
    instance_id: str | None = Field(
        None,
        description="Static group membership: a stable name per worker, e.g. its pod's; a restart keeps its share.",
    )
    drain: bool = Field(
        False, description="Read the inputs to their ends, join and commit everything, and end: before `migrate`."
    )
    web_bind: str = Field(
        "127.0.0.1",
        description="Address of the web port; `0.0.0.0` or `::` in a container, which is probed from outside.",
    )
    log_format: Literal["auto", "text", "json"] = Field("auto", description="`auto`: text on a terminal, else JSON.")
    session_timeout_ms: int = Field(
        10_000, ge=1000, le=1_800_000, description="How long the group waits for a silent worker."
    )


def worker_settings(**given: Any) -> WorkerSettings:
    """Returns the settings of the environment, overridden by `given`, and arms a test's failpoints. Raises JobError."""
    _arm_failpoints()
    try:
        return WorkerSettings(**given)
    except ValidationError as error:
        issues = issues_of(error.errors(include_url=False, include_input=True))
        raise JobError(
            Problem("", f"environment {PREFIX}{str(i.path[0]).upper()}", None, i.message, i.hint) for i in issues
        ) from None


def _arm_failpoints() -> None:
    points = os.environ.get(FAILPOINTS, "")
    if points and os.environ.get(ALLOW_FAILPOINTS) != "1":
        why = "it makes a worker die, freeze or fail on purpose, which only tests want"
        hint = f"unset it; a test also sets {ALLOW_FAILPOINTS}=1"
        raise JobError([Problem("", f"environment {FAILPOINTS}", None, why, hint)])
    try:
        failpoints.arm(points)
    except ValueError as error:
        raise JobError([Problem("", f"environment {FAILPOINTS}", None, str(error))]) from None
