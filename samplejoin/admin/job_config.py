"""Turns a job file into the engine's settings, for commands that run next to workers or after them."""

from __future__ import annotations

from pathlib import Path

from samplejoin.engine.clients import list_topics
from samplejoin.engine.config import EngineConfig
from samplejoin.job.load import Sets
from samplejoin.job.open_job import open_job
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.settings import worker_settings


async def config_of(path: Path, sets: Sets = ()) -> EngineConfig:
    """Returns the settings of the job at `path`. Asks a broker if a stream has a topic pattern. Raises JobError."""
    settings = worker_settings(job=path)
    job, connection = await open_job(path, sets, list_topics)
    return engine_config(job, settings, connection)
