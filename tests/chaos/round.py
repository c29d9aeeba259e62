"""One round: the script played on a stage, and the judge's verdict on what came out."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplejoin.core.spec import Spec
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.chaos import counters, jobs, verified
from tests.chaos.brokers import Brokers
from tests.chaos.faults import FAULTS
from tests.chaos.feeder import Feeder
from tests.chaos.judge import Outputs, Truth, Verdict, judge, truth_of
from tests.chaos.load import STREAMS
from tests.chaos.script import Script
from tests.chaos.stage import Stage
from tests.chaos.watch import Watch
from tests.integration.support import Worker, wait_for
from tests.support.kafka import consume_all, create_topics

READY_S = 180.0
DRAIN_S = 480.0
ORACLE_EVENTS = 1_000_000
"""Rounds with more events are judged by `samplejoin verify` alone: the oracle holds every row in memory."""


@dataclass
class Result:
    """What came of a round. `error` is what broke it off, or what workers must never do."""

    script: Script
    verdict: Verdict = field(default_factory=Verdict)
    events: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    longest_stall_s: float = 0.0
    wall_s: dict[str, float] = field(default_factory=dict)
    error: str = ""
    notes: list[str] = field(default_factory=list)
    #: what `samplejoin verify` found, empty without it
    verified: dict[str, Any] = field(default_factory=dict)

    @property
    def red(self) -> bool:
        """Whether the round failed."""
        return bool(self.error) or self.verdict.red

    def as_dict(self) -> dict[str, Any]:
        """One line of the report."""
        return {
            "round": self.script.number, "seed": self.script.seed, "brokers": self.script.brokers, "red": self.red,
            "events": self.events, "faults": self.faults, "counts": self.counts,
            "longest_stall_s": round(self.longest_stall_s, 2), "wall_s": self.wall_s, "error": self.error,
            "notes": self.notes, "verdict": self.verdict.as_dict(), "verified": self.verified,
            "script": self.script.as_dict(),
        }  # fmt: skip


def play(
    script: Script,
    brokers: Brokers,
    root: Path,
    *,
    command: Sequence[str] = Worker.command,
    read: Callable[[str, str], list[Any]] = consume_all,
    with_verify: bool = True,
) -> Result:
    """Plays the round in folder `root`. `command` runs a worker; `read` gives a topic's records to the oracle;
    `with_verify`: `samplejoin verify` judges too."""
    result = Result(script)
    variant, name = script.variant, script.name
    job_file = jobs.write(variant, name, brokers.bootstrap, brokers.count, root)
    (root / "script.json").write_text(json.dumps(script.as_dict(), indent=1))
    topics = {f"{name}-{stream}": count for stream, count in zip(STREAMS, variant.inputs, strict=True)}
    create_topics(brokers.bootstrap, topics, replication=brokers.count)
    stage = Stage(brokers, name, root, job_file, variant, command, script.special)
    stage.places, stage.away_s = itertools.cycle(script.places()), script.away_s
    feeder = Feeder(brokers.bootstrap, name, script.load, script.events_per_second)
    stage.watch = watch = Watch(brokers.bootstrap, f"{name}-samples", stage.all_ready)
    began = time.monotonic()
    try:
        with _timed(result, "played"):
            _perform(script, stage, feeder, result)
    except Exception as error:
        result.error = f"{type(error).__name__}: {error}"
    finally:
        feeder.cancel()
        watch.end()
        stage.close()
    _tell(result, stage, feeder, watch, began)
    if not result.error:
        try:
            _judge(result, stage, read, with_verify)
        except Exception as error:
            result.error = f"not judged: {type(error).__name__}: {error}"
    return result


def _judge(result: Result, stage: Stage, read: Callable[[str, str], list[Any]], with_verify: bool) -> None:
    """Both judges, if the command of the second one is there; the oracle where the round is not too large for it."""
    script, name = result.script, result.script.name
    with _timed(result, "verified"):
        report = verified.verify(stage.job_file) if with_verify else {}
    if report:
        result.verified, result.verdict = verified.figures(report), verified.verdict_of(report)
    if report and result.events > ORACLE_EVENTS:
        return
    with _timed(result, "judged"):
        spec = compile_job(load_job(stage.job_file, environ={}), stage.root).spec
        known = truth_of(script.load, name)
        result.verdict = judge(
            spec, known, outputs_of(stage.brokers.bootstrap, name, spec, read),
            exactly_once=script.variant.exactly_once, calm=not script.faults,
        )  # fmt: skip
        problems = _unreconciled(script, stage, known, result.verdict)
        problems += [verified.disagreement(result.verdict, report)] if report else []
        result.error = "; ".join(filter(None, problems))


def _perform(script: Script, stage: Stage, feeder: Feeder, result: Result) -> None:
    """Load and faults together; then all is healed, and the workers come to the end of the input."""
    assert stage.watch is not None
    for _ in range(script.variant.workers):
        stage.add()
    wait_for(stage.all_ready, READY_S, stage.say)  # topics are made with all replicas, which takes all brokers
    stage.watch.start()
    feeder.start()
    began = time.monotonic()
    for count, (at_s, name) in enumerate(script.faults):
        feeder.join(max(0.0, began + at_s - time.monotonic()))
        if not (feeder.is_alive() or script.every_fault):
            break
        result.faults.append({"fault": name, "at_s": round(time.monotonic() - began, 2)})
        FAULTS[name].harm(stage, script.random(count))
        result.faults[-1]["over_s"] = round(time.monotonic() - began, 2)
    stage.heal()
    while feeder.is_alive():
        feeder.join(1.0)
        stage.heal()
    if feeder.error is not None:
        raise feeder.error
    fed = time.monotonic()
    stage.wait_done(script.load.end_ms - script.load.lateness_ms, DRAIN_S)
    result.wall_s["drained"] = round(time.monotonic() - fed, 2)
    if not script.faults:
        stage.figures = counters.of(list(stage.workers.values()))
    for worker in list(stage.workers.values()):
        stage.stop(worker)


def _tell(result: Result, stage: Stage, feeder: Feeder, watch: Watch, began: float) -> None:
    """What was measured, and what the logs must not say."""
    result.events, result.counts, result.notes = feeder.sent, dict(stage.counts), stage.notes
    last = watch.grew[-1][0] if watch.grew else began
    result.longest_stall_s = watch.longest_stall_s(began, last)
    for fault in result.faults:
        at = began + fault["at_s"]
        fault["next_sample_s"], fault["ready_s"] = watch.next_sample_s(at), watch.next_ready_s(at)
    if not result.error and (logs := stage.tracebacks()):
        result.error = f"tracebacks in {', '.join(logs)}"


def _unreconciled(script: Script, stage: Stage, known: Truth, verdict: Verdict) -> list[str]:
    """Without a fault every counter must agree with the truth."""
    return [] if stage.figures is None else counters.differences(stage.figures, known, verdict, script.variant)


def outputs_of(bootstrap: str, name: str, spec: Spec, read: Callable[[str, str], list[Any]] = consume_all) -> Outputs:
    """All that the job wrote."""
    late = None if spec.late == "count" else read(bootstrap, f"{name}-late")
    samples, orphan, letters = (read(bootstrap, f"{name}-{topic}") for topic in ("samples", "orphan", "dead-letter"))
    return Outputs(samples, orphan, letters, late)


@contextmanager
def _timed(result: Result, what: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        result.wall_s[what] = round(time.monotonic() - began, 2)
