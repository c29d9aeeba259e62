"""The last resort of a stop ends a process that computes on, also where nothing else of it gets a turn."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import time
from samplejoin.worker import forced_exit

forced_exit.STOP_S, forced_exit.HARD_S = {times}
end = forced_exit.Ending(lambda: "functions:clean")
end.listen()
end.begin()
time.sleep(0.3)  # until its thread has heard
{compute}
"""


@pytest.mark.parametrize(
    ("times", "compute", "said"),
    [
        ("0.5, 60", "while True: pass", "of its failure: it is at functions:clean, in <string>:"),
        ("0.5, 1", "sum(range(1 << 60))", "Timeout"),  # one call into C, which does not give the interpreter back
    ],
)
def test_a_process_that_computes_on_is_ended(times, compute, said):
    script = SCRIPT.format(times=times, compute=compute)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_a_loop_that_only_waits_for_brokers_is_not_blamed():
    """Nobody's function runs: what stands in the way is said, not where asyncio waits."""
    script = SCRIPT.format(times="0.5, 60", compute="time.sleep(30)").replace(
        'lambda: "functions:clean"', 'lambda: "", lambda: 9.0'
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "of its failure: the brokers do not answer, for 9 s now. It is ended hard" in done.stderr
    assert "<string>:" not in done.stderr
