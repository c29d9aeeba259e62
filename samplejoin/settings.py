"""What a worker takes from its environment beside the job: which job, who it is, where it listens and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """Environment variables of a worker, all with the prefix `SAMPLEJOIN_`."""

    model_config = SettingsConfigDict(env_prefix="SAMPLEJOIN_", extra="ignore")

    job: Path = Field(Path("job.yaml"), description="The job file.")
    instance_id: str | None = Field(
        None,
        description="Static group membership: a stable name per worker, e.g. its pod's; a restart keeps its share.",
    )
    web_bind: str = Field("0.0.0.0", description="Address of the web port.")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="`auto`: text on a terminal, else JSON.")
    session_timeout_ms: int = Field(10_000, ge=1000, description="How long the group waits for a silent worker.")
