"""Starts the worker, reads metrics from its web port, and stops it."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from samplejoin.demo.errors import DemoError

LOOPBACK = "127.0.0.1"
STOP_S = 15.0
LOG_LINES = 12
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class MetricsReading:
    """A worker's metrics at one moment, by name and label value."""

    values: dict[tuple[str, ...], float] = field(default_factory=dict)

    def total(self, name: str, *labels: str) -> float:
        """The sum over all series of `name` whose labels, sorted by name, include these values."""
        return sum(v for (n, *given), v in self.values.items() if n == name and set(labels) <= set(given))

    def lowest(self, name: str) -> float | None:
        """The lowest value of `name`, None if it has no series."""
        return min((v for (n, *_), v in self.values.items() if n == name), default=None)

    def count(self, name: str) -> int:
        """How many series `name` has."""
        return sum(n == name for n, *_ in self.values)


class WorkerProcess:
    """One worker of one job. Its state and log are in `folder`; `overrides` replace values of the job file."""

    def __init__(self, job: Path, folder: Path, overrides: Mapping[str, str]) -> None:
        self.log = folder / "worker.log"
        self.port = free_port()
        settings = {**overrides, "state_dir": str(folder / "state"), "web_port": str(self.port)}
        command = [sys.executable, "-m", "samplejoin.demo.worker", str(job)]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SAMPLEJOIN_")}
        environ |= {"SAMPLEJOIN_WEB_BIND": LOOPBACK, "SAMPLEJOIN_LOG_FORMAT": "text"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command + [f"{name}={value}" for name, value in settings.items()],
                stdin=subprocess.PIPE,  # the worker ends when this is closed
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops the worker cleanly
            )

    def check(self) -> None:
        """Raises DemoError if the worker has ended by itself."""
        status = self._process.poll()
        if status is not None:
            raise DemoError(f"the worker ended with status {status}:\n{self.log_tail()}")

    def read(self) -> MetricsReading | None:
        """Returns its current metrics, None while its web port does not answer."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=2) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return None
        return MetricsReading(
            {
                (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    def terminate(self) -> None:
        """Sends SIGTERM; the worker commits before it ends."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> bool:
        """Stops it and waits. Returns False if it had to be killed or ended with an error."""
        self.terminate()
        try:
            return self._process.wait(STOP_S) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()

    def log_tail(self) -> str:
        """Returns the last lines of its log."""
        lines = _COLOURS.sub("", self.log.read_text(errors="replace")).splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def free_port() -> int:
    """Returns a free loopback port below the ephemeral range, which no outgoing connection takes. Raises DemoError."""
    for _ in range(200):
        port = random.randrange(18_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise DemoError(f"no free port found on {LOOPBACK} between 18000 and 32000")
