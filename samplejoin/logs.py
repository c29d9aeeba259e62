"""Logging of a worker: readable lines on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def setup_logging(style: str, level: str | int) -> None:
    """Routes all loggers to standard error in one style; `auto` looks whether that is a terminal."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,  # the rich one prints local variables, secrets among them
    )
    renderer: Any = console if text else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared if text else [*shared, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level if isinstance(level, int) else level.upper())
    for noisy in ("faust", "mode", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # the Kafka client says each broken connection several times over; what it means for the join the engine says
    client_level = logging.DEBUG if root.level <= logging.DEBUG else logging.CRITICAL + 1
    logging.getLogger("aiokafka").setLevel(client_level)


def _is_news(record: logging.LogRecord) -> bool:
    """Not mode's Starting and Stopping lines, but what goes wrong there; of missing brokers `until_there` speaks."""
    text = str(record.msg)
    return not text.startswith("Unable connect to") and (record.levelno >= logging.WARNING or not text.startswith("[^"))
