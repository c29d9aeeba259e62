"""Logging of a worker: readable lines on a terminal, JSON lines elsewhere.

Parts of a message can come from a record. So messages are cut to a limit, and in text they can neither move a
terminal's cursor nor look like separate lines.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog

from samplejoin.core.values import Fields
from samplejoin.printable import printable

MAX_CHARS = 4000
MAX_TRACEBACK_CHARS = 20_000


def setup_logging(style: str, level: str | int, path: str | None = None) -> None:
    """Routes all loggers to standard error, or to the file `path`, in one style: `text`, `json`, or `auto`.

    `auto` means text on a terminal, else JSON.
    """
    terminal = path is None and sys.stderr.isatty()
    text = style == "text" or (style == "auto" and terminal)
    plain: Any = _escaped if text else _cut
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    console = structlog.dev.ConsoleRenderer(
        colors=terminal,
        exception_formatter=_traceback,
    )
    renderer: Any = console if text else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared if text else [*shared, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, plain, renderer],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level if isinstance(level, int) else level.upper())
    for noisy in ("faust", "mode", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # the Kafka client logs each broken connection several times; the engine logs what it means for the join
    client_level = logging.DEBUG if root.level <= logging.DEBUG else logging.CRITICAL + 1
    logging.getLogger("aiokafka").setLevel(client_level)


def _cut(_: object, __: str, event: dict[str, object]) -> Fields:
    """Cuts long messages and tracebacks."""
    for key, limit in (("event", MAX_CHARS), ("exception", MAX_TRACEBACK_CHARS)):
        text = event.get(key)
        if isinstance(text, str) and len(text) > limit:
            event[key] = f"{text[:limit]}… ({len(text) - limit} characters more)"
    return event


def _escaped(logger: object, name: str, event: Fields) -> Fields:
    """Cuts as `_cut` does, escapes control characters, and indents further lines of a message."""
    event = _cut(logger, name, event)
    for key in ("event", "exception"):
        if isinstance(event.get(key), str):
            event[key] = printable(event[key])
    return event


def _traceback(stream: Any, exc_info: Any) -> None:
    """Writes a traceback without the values of local variables, which can be secrets."""
    stream.write(_escaped(None, "", {"exception": "".join(traceback.format_exception(*exc_info))})["exception"])


def _is_news(record: logging.LogRecord) -> bool:
    """Drops mode's Starting and Stopping lines, but keeps its warnings, except two that are logged elsewhere.

    `until_there` reports missing brokers. A late timer waits for them or for a blocked loop, as `LoopWatch` reports.
    """
    text = str(record.msg)
    if text.startswith(("Unable connect to", "Timer %s ")):
        return False
    return record.levelno >= logging.WARNING or not text.startswith("[^")
