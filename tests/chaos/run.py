"""A run: round after round on brokers that stay as long as they are of the right kind, and a report."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.chaos import report
from tests.chaos.brokers import Brokers
from tests.chaos.round import Result, play
from tests.chaos.script import Script
from tests.integration.support import Worker

FRESH_ROUNDS = 12
"""Rounds after which brokers are replaced, data folder and all."""


class Supply:
    """Brokers of the kind that is wanted; new ones after another kind, some rounds, or trouble."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._brokers: Brokers | None = None
        self._rounds = 0

    def get(self, count: int) -> Brokers:
        """Brokers that run."""
        if self._brokers is None or self._brokers.count != count or self._rounds >= FRESH_ROUNDS:
            self.drop()
            self._brokers = self._stack.enter_context(Brokers(count))
        self._rounds += 1
        return self._brokers

    def drop(self) -> None:
        """Ends them, with their data."""
        self._stack.close()
        self._brokers, self._rounds = None, 0


def run(
    scripts: Iterable[Script],
    root: Path,
    *,
    minutes: float | None = None,
    command: Sequence[str] = Worker.command,
    repeat: str = "",
    with_verify: bool = True,
) -> Iterator[Result]:
    """Plays rounds in `root` until they or the time are at an end. A round that failed keeps its folder."""
    root.mkdir(parents=True, exist_ok=True)
    until = None if minutes is None else time.monotonic() + minutes * 60
    supply = Supply()
    try:
        for script in scripts:
            if until is not None and time.monotonic() > until:
                return
            folder = root / f"round-{script.number}"
            shutil.rmtree(folder, ignore_errors=True)
            brokers = supply.get(script.brokers)
            result = play(script, brokers, folder, command=command, with_verify=with_verify)
            report.append(root / "report.jsonl", result.as_dict())
            _say(result, folder, repeat)
            if result.red:
                (folder / "verdict.txt").write_text("\n".join([result.error, *result.verdict.examples]) + "\n")
                supply.drop()
            else:
                shutil.rmtree(folder)
                brokers.forget(script.name)
            yield result
    finally:
        supply.drop()


def _say(result: Result, folder: Path, repeat: str) -> None:
    script, verdict = result.script, result.verdict
    faults = ", ".join(fault["fault"] for fault in result.faults) or "no faults"
    times = ", ".join(f"{what} {seconds} s" for what, seconds in result.wall_s.items())
    print(
        f"round {script.number}: {'RED' if result.red else 'ok'}, {script.brokers} broker(s), {script.variant.workers} "
        f"worker(s), {result.events} events, {verdict.checked} samples, {result.counts.get('kills', 0)} kills; "
        f"{faults}; {times}",
        flush=True,
    )
    for note in result.notes:
        print(f"  note: {note}", flush=True)
    if result.red:
        problems = [result.error] if result.error else []
        print(*(f"  {line}" for line in problems + verdict.examples), sep="\n", file=sys.stderr)
        print(f"  kept in {folder}; again: {repeat} --only {script.number}", file=sys.stderr, flush=True)
