"""Runs the demo: topics, workers, replay, summary. Stops everything that it started, however it ends."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from samplejoin.demo.broker import Broker, open_broker
from samplejoin.demo.data import Dataset
from samplejoin.demo.errors import DemoError
from samplejoin.demo.process import WorkerProcess
from samplejoin.demo.progress import Progress
from samplejoin.demo.replay import Replay
from samplejoin.demo.samples import DemoSample, read_samples, write_samples
from samplejoin.demo.screen import Screen
from samplejoin.demo.summary import print_next, print_summary
from samplejoin.engine.config import Topics
from samplejoin.job.load import load_job
from samplejoin.job.model import JobModel

STEP_S = 0.05
READ_EVERY_S = 0.5
PATIENCE_S = 60.0


class Run:
    """One example: its worker, its replay and the progress of both."""

    def __init__(self, example: Dataset, broker: Broker, folder: Path, seconds: float) -> None:
        job = example.folder / "job.yaml"
        self.example = example
        self.model = load_job(job, overrides(load_job(job, environ={}), broker), environ={})
        self.topics = {name: stream.topic_names[0] for name, stream in self.model.streams.items()}
        events = example.events()
        labels = tuple(name for name, stream in self.model.streams.items() if stream.role == "label")
        self.progress = Progress(example.name, len(events), labels)
        broker.create([*self.topics.values(), *(_made_by_worker(self.model) if broker.on_first_use else ())])
        self.replay = Replay(self.model, self.topics, events, broker.bootstrap, seconds)
        self._read_at = 0.0
        folder.mkdir()
        self.worker = WorkerProcess(job, folder, overrides(self.model, broker, suffix=False))

    def step(self, elapsed_s: float) -> None:
        """Sends the events that are due; every `READ_EVERY_S` reads the metrics. Raises DemoError."""
        self.replay.step(elapsed_s)
        if self.progress.done or elapsed_s < self._read_at:
            return
        self.worker.check()
        self._read_at = elapsed_s + READ_EVERY_S
        if self.progress.update(self.model, self.replay, self.worker.read()):
            self.worker.terminate()

    def samples(self, broker: Broker) -> list[DemoSample]:
        """Returns the finished samples. Raises DemoError if the worker did not stop cleanly or counted differently."""
        self.replay.finish()
        if not self.worker.stop():
            raise DemoError(f"the worker of job {self.model.name} did not stop cleanly:\n{self.worker.log_tail()}")
        samples = read_samples(broker.bootstrap, self.model.samples_topic)
        if len(samples) != self.progress.samples:
            raise DemoError(
                f"topic {self.model.samples_topic} holds {len(samples)} samples, the worker of job {self.model.name} "
                f"counted {self.progress.samples}: this is a bug, please report it"
            )
        return samples


def run_demo(
    examples: Sequence[Dataset], brokers: str | None, seconds: float, samples_file: Path | None, console: Console
) -> None:
    """Runs the examples side by side and prints their summaries. Raises DemoError. Always cleans up."""
    if samples_file is not None:
        write_samples(samples_file, [])  # an unwritable path fails now, not after the replay
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="samplejoin-demo-")))
        broker = open_broker(brokers)
        runs: list[Run] = []
        ends.callback(lambda: broker.close([run.model.name for run in runs]))
        console.print(f"Broker: {broker.what}", highlight=False)
        for example in examples:
            run = Run(example, broker, folder / example.name, seconds)
            runs.append(run)
            ends.callback(run.worker.stop)
        ends.callback(_terminate, runs)  # called before `stop` of each, so that all end at once
        for run in runs:
            console.print(_pace(run), highlight=False)
        _join(runs, seconds, console)
        finished = [run.samples(broker) for run in runs]
        for run, samples in zip(runs, finished, strict=True):
            print_summary(console, run.example, run.progress, samples)
        if samples_file is not None:
            write_samples(samples_file, [sample for samples in finished for sample in samples])
    print_next(console)


def overrides(model: JobModel, broker: Broker, suffix: bool = True) -> dict[str, str]:
    """Returns the values that replace those of a job file: the brokers, and names that no other run on them has."""
    end = broker.suffix if suffix else ""
    laid = {"brokers": broker.bootstrap, "guarantee": broker.guarantee, "name": model.name + end}
    for name, stream in model.streams.items():
        laid[f"streams.{name}.topic"] = stream.topic_names[0] + end
    for name, topic in model.output_topics().items():
        laid[f"outputs.{name}.topic"] = topic + end
    return laid


def _made_by_worker(model: JobModel) -> list[str]:
    """Returns every topic that the worker writes to, for a broker that has no CreateTopics."""
    outputs = model.output_topics()
    topics = Topics(model.name, outputs["samples"], None, None, outputs["dead_letter"])
    return [*outputs.values(), topics.repartition, topics.changelog, topics.progress]


def _terminate(runs: Sequence[Run]) -> None:
    for run in runs:
        run.worker.terminate()


def _pace(run: Run) -> str:
    span_days = (run.replay.end_ms - run.replay.begin_ms) / 86_400_000
    return (
        f"{run.example.name}: {run.progress.total:,} events of {span_days:.0f} days, an hour of event time every "
        f"{3600 / run.replay.compress:.2g} s; window {run.model.window_ms // 60_000} min"
    )


def _join(runs: Sequence[Run], seconds: float, console: Console) -> None:
    """Runs until every worker has closed its last window. Raises DemoError if one does not."""
    started = time.monotonic()
    with Screen(console) as screen:
        while any(not run.progress.done for run in runs):
            elapsed_s = time.monotonic() - started
            for run in runs:
                run.step(elapsed_s)
            screen.show([run.progress for run in runs])
            if elapsed_s > seconds + PATIENCE_S:
                late = next(run for run in runs if not run.progress.done)
                raise DemoError(
                    f"the worker of job {late.model.name} has not finished {PATIENCE_S:.0f} s after the last event:\n"
                    f"{late.worker.log_tail()}"
                )
            time.sleep(STEP_S)
        screen.show([run.progress for run in runs], last=True)
