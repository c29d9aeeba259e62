"""The content of a record cannot forge, hide or inflate the log."""

from __future__ import annotations

import json
import logging

import pytest

from samplejoin.engine.hot_keys import HotKeys
from samplejoin.worker.logs import MAX_CHARS, setup_logging

#: to clear a screen, to begin a line, to turn the direction of writing, half a character
HOSTILE = "a\x1b[2J\x85b\u202ec\u2028d\r\n2026-01-01T00:00:00Z [error] forged\ud800\x7f"


@pytest.fixture
def logged(tmp_path):
    """Logs into a file as a worker does, and says what stands there."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    path = tmp_path / "log"

    def start(style: str) -> logging.Logger:
        setup_logging(style, "info", str(path))
        return logging.getLogger("samplejoin.test")

    start.text = lambda: path.read_bytes().decode()  # type: ignore[attr-defined]
    yield start
    for handler in root.handlers:
        handler.close()
    root.handlers[:], root.level = handlers, level


def test_text_shows_control_characters_as_escapes(logged):
    log = logged("text")
    log.warning("key %s", HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed")
    text = logged.text()
    assert not [c for c in text if ord(c) < 32 and c != "\n"]
    assert not set(text) & set("\x7f\x85\u202e\u2028")
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01")]
    assert text.count(r"a\x1b[2J\x85b\u202ec\u2028d\r") == 2


def test_json_is_one_line_of_ascii_an_event(logged):
    logged("json").warning("key %s", HOSTILE)
    (line,) = logged.text().splitlines()
    assert line.isascii()
    assert json.loads(line)["event"] == f"key {HOSTILE}"


@pytest.mark.parametrize("style", ["text", "json"])
def test_long_values_are_cut(logged, style):
    logged(style).warning("key %s", "x" * 1_000_000)
    assert len(logged.text()) < MAX_CHARS + 200
    assert "996004 characters more" in logged.text()


def test_hot_keys_are_named_by_a_hash_above_debug(caplog):
    found = HotKeys()
    with caplog.at_level(logging.DEBUG, "samplejoin"):
        found.count([(b'["user-1"]', 0, 0, 0, 99, 100, b""), (b'["user-2"]', 0, 0, 0, 99, 1, b"")], 101)
        ((name, share),) = found.shares()
    assert (len(name), "user" in name, round(share, 2)) == (12, False, 0.99)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("DEBUG", f'hot key {name} is ["user-1"]')]
