"""Writes the generated parts of docs/: the job file's reference, tables of metrics and aggregates. `make docs` runs it.

With `--check` it writes nothing and fails if a page is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from samplejoin.core.aggregates import LIMITED, PLAIN
from samplejoin.job.reference import job_reference
from samplejoin.worker.metrics import COUNTERS, GAUGES, HISTOGRAMS

DOCS = Path(__file__).resolve().parents[1] / "docs"

#: what to do about each metric, by its name in `samplejoin.worker.metrics`
HINTS = {
    "records": "",
    "events": "**alert** if `dead_*` is over 1 % of a stream, or if `ok` drops against the day before",
    "samples": "**alert** if the share of `positive` leaves its usual band; `dead` must be 0",
    "revisions": "only with `late: correct`; `dead` must be 0",
    "windows": "denominator of ratios",
    "joined_rows": "",
    "folded_rows": "only with `id`; after a jump: a producer retries more, or its ids are not unique",
    "joined_samples": "numerator of the join ratio",
    "late_rows": "**alert** on a share over 1 %: `lateness` is too small, or a producer is late",
    "late_dropped_rows": "as for late rows; these rows are not in the training data",
    "late_corrections": "only with `late: correct`",
    "orphan_dropped_rows": "**alert** if the share jumps: an impression log is missing or its key changed",
    "cut_rows": "only within a window's length of `start` or `until`; not in the orphan topic",
    "cut_side_rows": "above 0: some rows are over 1000 KiB; the topic has them without `fields`",
    "truncated_rows": "above 0: a key is hotter than `limits.rows` allows",
    "dead_letters": "**alert** on any steady rate",
    "skipped_records": "above 0: an operator asked for it; `samplejoin skip JOB` lists them",
    "skipped_entries": "rises after restarts; if it rises steadily, offsets were moved back",
    "rewound_entries": "above 0: the group's offsets were moved back; see `samplejoin reset`",
    "gap_refused": "**alert** if it keeps rising for minutes: the clock stands still. A few at a restart are harmless",
    "refused_records": "above 0: another program writes into an internal topic; revoke its right",
    "straddle_refused": "**alert** if it keeps rising for minutes, as for refused gaps",
    "commits": "no increase for a minute: the worker is stuck or has no partition",
    "changelog_rows": "",
    "far_times": "above 0: `time_unit` is wrong, or the data are that old; the log names the stream",
    "rebalances": "**alert** on more than a few an hour without a deployment",
    "state_keys": "grows with traffic times window; at `limits.cache_keys` the rest is in RocksDB",
    "remembered_keys": "only with `late: correct`; part of `samplejoin_state_keys`. After a restart it begins at 0",
    "clock_ms": "",
    "watermark_delay": "**alert** over `lateness` plus some minutes: see `samplejoin_clock_held_by`",
    "held_by": "`unread`: start a worker; `empty`, `silent`: with `idle: hold` the clock waits for an event",
    "source_lag": "**alert** if it grows for ten minutes",
    "join_lag": "at `max_backlog` all inputs pause",
    "last_event": "**alert** if a stream that is never idle is silent for minutes",
    "last_commit_seconds": "**alert** if older than a minute",
    "left_out": "**alert** above 0: samples say `complete: false`",
    "null_fields": "of the first 1000 rows since the worker started; a typo in the job file, or a very rare field",
    "error_ratio": "over the job's `error_rate` the worker logs a warning; look into the dead-letter topic",
    "sample_error_ratio": "over `error_rate` the worker logs a warning with the last error",
    "join_ratio": "since the worker started; for an alert use the query below",
    "clean_seconds": "rises with the cost of cleaning functions",
    "loop_stall_seconds": "**alert** on more than 1 s: heartbeats, ticks and commits wait",
    "recovery_seconds": "rises with open keys; decides how long a restart holds samples back",
}


def metrics_tables() -> str:
    """Returns the tables of docs/metrics.md."""
    parts = []
    for title, suffix, metrics in (
        ("Counters", "_total", COUNTERS),
        ("Gauges", "", GAUGES),
        ("Histograms", "", HISTOGRAMS),
    ):
        parts += [f"\n### {title}\n", "| name | labels | means | hint |", "|---|---|---|---|"]
        for key, (name, labels, means) in metrics.items():
            parts.append(
                f"| `{name}{suffix}` | {', '.join(f'`{each}`' for each in labels)} | {means} | {HINTS.get(key, '')} |"
            )
    parts += [
        "\n`samplejoin_build_info` has the label `version` (and no `pipeline`) and is always 1.",
        "Counters and histograms also have a series `…_created` with the time they were first raised.\n",
    ]
    return "\n".join(parts) + "\n"


class Described(NamedTuple):
    """An aggregate's docstring, parsed. An example is (argument or "", values of rows, result or `refused`)."""

    gives: str
    takes: str
    no_rows: str
    examples: list[tuple[str, str, str]]


def described() -> dict[str, Described]:
    """Returns all aggregates by name."""
    found = {}
    for name, maker in {**PLAIN, **LIMITED}.items():
        gives, *lines = [line.strip() for line in (maker.__doc__ or "").splitlines() if line.strip()]
        takes, no_rows, *examples = lines
        found[name] = Described(
            gives,
            takes.removeprefix("Takes: "),
            no_rows.removeprefix("No rows: "),
            list(map(_example, examples)),
        )
    return found


def _example(line: str) -> tuple[str, str, str]:
    before, _, result = line.partition(" -> ")
    argument, bracket, values = before.partition(") ")
    return (argument.removeprefix("("), values, result) if bracket else ("", before, result)


def aggregates_table() -> str:
    """Returns the table of docs/aggregates.md."""
    parts = ["\n| `agg` | gives | takes | no rows | examples |", "|---|---|---|---|---|"]
    for name, each in described().items():
        shown = []
        for argument, values, result in each.examples:
            made = result if result == "refused" else f"`{result}`"
            shown.append((f"`{name}({argument})` of " if argument else "") + f"`{values}`: {made}")
        written = f"{name}(n)" if name in LIMITED else name
        parts.append(f"| `{written}` | {each.gives} | {each.takes} | `{each.no_rows}` | {'<br>'.join(shown)} |")
    return "\n".join(parts) + "\n\n"


def generated(page: str, part: str, text: str) -> tuple[Path, str]:
    """Returns the page's path, and its content with `text` between the markers of `part`."""
    path = DOCS / page
    begin, end = f"<!-- {part}: generated by scripts/gen_docs.py, do not edit -->\n", f"<!-- /{part} -->\n"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{path} has lost its markers {begin.strip()} and {end.strip()}")
    return path, before + begin + text + end + after


def pages() -> dict[Path, str]:
    """Returns path -> current content of every page with a generated part."""
    return {
        DOCS / "job-file.md": job_reference(),
        **dict([
            generated("metrics.md", "metrics", metrics_tables()),
            generated("aggregates.md", "aggregates", aggregates_table()),
        ]),
    }  # fmt: skip


def main() -> None:
    """Writes the pages that have changed; with `--check` only names them and fails."""
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        raise SystemExit(f"not current, run `make docs`: {', '.join(p.name for p in stale)}" if stale else 0)
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
