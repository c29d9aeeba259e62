"""A job file as the engine's settings, for commands that run beside workers or after them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from samplejoin.engine.admin_client import AdminClient
from samplejoin.engine.clients import running
from samplejoin.engine.config import EngineConfig
from samplejoin.job.compile import compile_job, resolve_topics
from samplejoin.job.connection import client_options
from samplejoin.job.load import load_job
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.settings import worker_settings


def config_of(path: Path, sets: Iterable[str] = ()) -> EngineConfig:
    """The settings of the job at `path`; asks a broker where streams are given by pattern. Raises JobError."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what goes wrong is said once, by the command
    settings = worker_settings(job=path)
    model = load_job(path, list(sets))
    connection = client_options(model, path.parent)
    if any(stream.pattern for stream in model.streams.values()):
        model = resolve_topics(model, asyncio.run(_topics_there(connection)))
    return engine_config(compile_job(model, path.parent), settings, connection)


async def _topics_there(connection: Mapping[str, Any]) -> list[str]:
    async with running(AdminClient(**connection)) as client:
        return sorted(await client.list_topics())
