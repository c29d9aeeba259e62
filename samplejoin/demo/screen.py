"""Shows the running demo: a live table on a terminal, a line per job every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from samplejoin.demo.progress import Progress

LINE_EVERY_S = 5.0
REFRESH_EVERY_S = 0.2
LEGEND = """\
  open keys          impressions and labels of one key that wait for the end of their window
  join ratio         the share of samples that have a row of that label stream
  late rows          rows that were read after the clock had closed their window
  orphan labels      label rows whose key has no impression in the window
  clock              the event time up to which all rows have been read
  behind the replay  how long the clock takes to reach what has been sent
"""


class Screen:
    """Shows the progress of all jobs. `show` may be called at any rate; it limits its own output."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._started = time.monotonic()
        self._next_s = 0.0

    def __enter__(self) -> Screen:
        self._console.print(LEGEND, highlight=False)
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, jobs: Sequence[Progress], last: bool = False) -> None:
        """Shows the current figures, unless the last output is too recent."""
        elapsed_s = time.monotonic() - self._started
        if not last and elapsed_s < self._next_s:
            return
        self._next_s = elapsed_s + (LINE_EVERY_S if self._live is None else REFRESH_EVERY_S)
        if self._live is not None:
            self._live.update(_table(jobs, elapsed_s), refresh=True)
        else:
            for job in jobs:
                self._console.print(_line(job, elapsed_s), soft_wrap=True, highlight=False)


def _table(jobs: Sequence[Progress], elapsed_s: float) -> Table:
    table = Table(title=f"joining for {elapsed_s:.0f} s", title_justify="left")
    table.add_column("")
    for job in jobs:
        table.add_column(job.name, justify="right", min_width=26)
    rows: dict[str, list[RenderableType]] = {
        "": [ProgressBar(total=job.total, completed=job.sent, width=26) for job in jobs],
        "state": [job.state for job in jobs],
        "events sent": [f"{job.sent:,} of {job.total:,}" for job in jobs],
        "events read": [f"{job.read:,}" for job in jobs],
        "open keys": [f"{job.open_keys:,}" for job in jobs],
        "samples out": [f"[bold green]{job.samples:,}[/]" for job in jobs],
        "join ratio": [_ratios(job) for job in jobs],
        "late rows": [f"{job.late:,}" for job in jobs],
        "orphan labels": [f"{sum(job.orphans.values()):,}" for job in jobs],
        "clock (event time)": [_moment(job.clock_ms) for job in jobs],
        "behind the replay": [_delay(job) for job in jobs],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _line(job: Progress, elapsed_s: float) -> str:
    return (
        f"{elapsed_s:4.0f} s  {job.name}: {job.state}, {job.sent:,} of {job.total:,} events sent, {job.read:,} read, "
        f"{job.open_keys:,} open keys, {job.samples:,} samples out, joined {_ratios(job)}, {job.late:,} late, "
        f"{sum(job.orphans.values()):,} orphans, clock {_moment(job.clock_ms)}, behind the replay {_delay(job)}"
    )


def _ratios(job: Progress) -> str:
    return ", ".join(f"{name} {percent(job.ratio(name))}" for name in job.labels)


def percent(share: float | None) -> str:
    """Returns a share as a percentage, `-` for None."""
    return "-" if share is None else f"{share * 100:.2f} %"


def _moment(time_ms: int | None) -> str:
    return "-" if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _delay(job: Progress) -> str:
    return "-" if job.delay_s is None else f"{job.delay_s:.1f} s"
