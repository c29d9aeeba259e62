"""Opens a job file as a compiled job with its connection, for everything that runs a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from samplejoin.job.compile import Job, compile_job, resolve_topics
from samplejoin.job.connection import client_options
from samplejoin.job.load import Sets, load_job

Connection = Mapping[str, object]
"""Keyword arguments of aiokafka's clients."""


async def open_job(
    path: Path, sets: Sets, list_topics: Callable[[Connection], Awaitable[Iterable[str]]]
) -> tuple[Job, Connection]:
    """Opens the job at `path`. If streams have a `pattern`, `list_topics` is called for the cluster's topics.

    Raises JobError, and whatever `list_topics` raises.
    """
    model = load_job(path, sets)
    connection: Connection = client_options(model, path.parent)
    if any(stream.pattern for stream in model.streams.values()):
        model = resolve_topics(model, await list_topics(connection))
    return compile_job(model, path.parent), connection
