"""The Faust app of a job: wires the agents on channels, the runtime as a service, and the web port.

Faust's own consumer, producer and tables are disabled (`enable_kafka`): the engine reads, sends and commits (ADR 1).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from mode.supervisors import CrashingSupervisor

import samplejoin
from samplejoin.agents.clean import Cleaning, clean_agent
from samplejoin.agents.join import join_agent
from samplejoin.agents.timer import Ticking, timer_agent
from samplejoin.cleaning.missing_fields import WatchingCleaner
from samplejoin.cleaning.running_call import RunningCall
from samplejoin.connection_errors import Refused, out_of_files, refused_since
from samplejoin.core.kafka_record import KafkaRecord
from samplejoin.core.user_errors import counted
from samplejoin.engine import failpoints
from samplejoin.engine.access_rights import DENIALS, Denied
from samplejoin.engine.clients import list_topics, until_answered
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.dead_letters import RecordLetters
from samplejoin.engine.sources import SourceBlock
from samplejoin.engine.wire import pack_cell
from samplejoin.errors import SamplejoinError
from samplejoin.job.compile import Job
from samplejoin.job.errors import JobError
from samplejoin.job.load import Sets
from samplejoin.job.open_job import open_job
from samplejoin.job.units import format_duration
from samplejoin.worker import faust_command
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.error_ratio import Quality
from samplejoin.worker.forced_exit import Ending
from samplejoin.worker.function_watchdog import Watchdog, watched_spec
from samplejoin.worker.gc_control import Collector
from samplejoin.worker.http_server import WebPort, refuse_taken
from samplejoin.worker.input_warnings import InputWatch
from samplejoin.worker.logs import setup_logging
from samplejoin.worker.loop_monitor import LoopWatch
from samplejoin.worker.metrics import Metrics
from samplejoin.worker.runtime import Runtime
from samplejoin.worker.settings import WorkerSettings, worker_settings
from samplejoin.worker.status_line import StatusLine
from samplejoin.worker.web import pages

log = logging.getLogger(__name__)

CHANNEL_BLOCKS = 4
SAY_EVERY_S = 60.0
#: warning that is logged once a minute at most -> when it was last logged
_said_at: dict[str, float] = {}


class _Boot(BootStrategy):
    """Starts Faust's sensors and agents, but neither its Kafka clients nor its web pages."""

    enable_kafka = False
    enable_web = False


class JoinWorker(faust.Worker):
    """A Faust worker that ends with a clear message and an exit status instead of a traceback."""

    def __init__(self, app: JoinApp, *args: Any, **kwargs: Any) -> None:
        super().__init__(app, *args, **kwargs)
        self.spinner = None  # a log line reports the start instead
        self.join_app = app
        self.ending = Ending(lambda: str(app.running_call), app.runtime.progress.silent_s)
        app.worker = self

    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        self.ending.listen()

    def _on_sigint(self) -> None:
        """Stops as on SIGTERM; mode's own handler would print a row of -INT-."""
        self._schedule_shutdown(signal.SIGINT)

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        if not self._signal_stop_time and self.join_app.failure is None:
            log.info("stopping on %s: sending and committing what is under way", signal.name)
            self.join_app.input.fields_are_absent(self.join_app.cleaner.absent())
        super()._schedule_shutdown(signal)

    def _setup_logging(self) -> None:
        level = faust_command.log_level(click.get_current_context(silent=True), self.loglevel)
        setup_logging(self.join_app.settings.log_format, level, str(self.logfile) if self.logfile else None)

    def execute_from_commandline(self) -> Any:
        conf = self.join_app.conf
        try:
            if conf.web_enabled:
                refuse_taken(conf.web_bind, conf.web_port)
        except WorkerError as error:
            self._setup_logging()
            log.error("worker stops: %s", error)
            raise SystemExit(1) from None
        try:
            super().execute_from_commandline()
        except SystemExit as error:
            failed = self.join_app.failure is not None
            raise SystemExit(1 if failed else error.code) from None
        except BaseException:
            if self.join_app.failure is None:
                raise
            raise SystemExit(1) from None  # the cause is logged already; this error only followed from it

    def stop_and_shutdown(self) -> None:
        """Waits for a stop that the app began itself; mode waits only for signals' stops, and would cancel this one."""
        if self.join_app.ending is not None:
            self.loop.run_until_complete(asyncio.wait([self.join_app.ending]))
        super().stop_and_shutdown()


class JoinApp(faust.App):
    """The Faust app of a job. `failure`: the error that ended it, or None. `ending`: the stop that it began itself."""

    BootStrategy = _Boot

    def __init__(self, job: Job, config: EngineConfig, settings: WorkerSettings) -> None:
        self.running_call = RunningCall()
        self._collector = Collector()
        spec = watched_spec(job.spec, self.running_call, job.model.label, job.model.format)
        self.job, self.config, self.settings = job, replace(config, spec=spec), settings
        self.failure: BaseException | None = None
        self.ending: asyncio.Future[None] | None = None
        self.worker: JoinWorker | None = None
        self._started_at = time.monotonic()
        self.metrics = Metrics(job.model.name, samplejoin.__version__)
        steps = {"label": job.model.label or "label", "format": job.model.format}
        self.input = InputWatch(self.metrics, {name: s.time_unit for name, s in job.model.streams.items()})
        self.quality = Quality(self.metrics, job.model.error_rate, steps, job.spec.streams)
        super().__init__(
            config.topics.prefix,
            broker="kafka://unused",
            store="memory://",
            datadir=str(config.state_dir),
            origin="samplejoin",
            web_port=job.model.web_port,
            web_bind=settings.web_bind,
            web_host=socket.gethostname(),
            Worker=JoinWorker,
            agent_supervisor=CrashingSupervisor,
            stream_wait_empty=False,
        )
        self._wire()

    def _wire(self) -> None:
        config = self.config
        blocks = self.channel(maxsize=CHANNEL_BLOCKS)
        entries = self.channel(maxsize=CHANNEL_BLOCKS)
        worker = f"{socket.gethostname()}-{os.getpid()}"

        async def deliver_join(partition: int, records: Sequence[KafkaRecord]) -> None:
            await entries.send(value=(partition, records))

        async def deliver_source(block: SourceBlock) -> None:
            await blocks.send(value=block)

        self.runtime = runtime = Runtime(
            config,
            self.metrics,
            deliver_source=deliver_source,
            deliver_join=deliver_join,
            fatal=self.fatal,
            worker=worker,
            drained=self._stop_worker if self.settings.drain else None,
        )
        self.cleaner = WatchingCleaner(self.job, self.running_call, pack_cell, self.input.field_is_null)
        cleaning = Cleaning(
            config,
            self.cleaner,
            runtime.sender,
            RecordLetters(config, runtime.dead_letters, self.fatal),
            self.metrics,
            self.fatal,
            runtime.hot_keys,
            runtime.scheduler,
            self.quality.record_failed,
            self.input.time_is_far,
        )
        runtime.emitter.on_dead = self.quality.sample_failed
        runtime.emitter.on_orphan = self.input.row_is_orphan
        clean_agent(self, blocks, cleaning)
        join_agent(self, entries, runtime.joins)
        timer_agent(self, Ticking(config, runtime.sources, runtime.sender, runtime.record_fetches))
        self._set_timers()

    def _set_timers(self) -> None:
        runtime, line = self.runtime, StatusLine(self)

        @self.timer(interval=1.0, name="say")  # type: ignore[untyped-decorator]  # Faust
        async def say() -> None:
            await runtime.publish_progress()

        # separate from `say`, which can wait for a broker
        @self.timer(interval=1.0, name="refusals")  # type: ignore[untyped-decorator]  # Faust
        async def end_on_refusal() -> None:
            if refused := refused_since(self._started_at):  # the client would retry forever, and lock the account
                self.fatal(refused)

        @self.timer(interval=10.0, name="status")  # type: ignore[untyped-decorator]  # Faust
        async def status() -> None:
            line.log()
            self.input.log_odd_streams()
            self._collector.collect_if_due()

        @self.timer(interval=2.0, name="topic-ids")  # type: ignore[untyped-decorator]  # Faust
        async def find_recreated_topics() -> None:
            await self._failing(runtime.find_recreated_topics())

        @self.timer(interval=10.0, name="topics")  # type: ignore[untyped-decorator]  # Faust
        async def find_deleted_topics() -> None:
            await self._failing(runtime.find_deleted_topics())
            await self._failing(runtime.obey_skips())

        @self.timer(interval=60.0, name="trim")  # type: ignore[untyped-decorator]  # Faust
        async def trim() -> None:
            await self._failing(runtime.trim())

        @self.timer(interval=60.0, name="absent-fields")  # type: ignore[untyped-decorator]  # Faust
        async def log_absent_fields() -> None:
            self.input.fields_are_absent(self.cleaner.absent())

    async def _failing(self, step: Awaitable[None]) -> None:
        """Awaits a timer's step. An error ends the worker with a message instead of crashing Faust."""
        try:
            await step
        except Exception as error:
            self.fatal(error)

    async def on_started_init_extra_services(self) -> None:
        """Starts the engine and its services, once the agents listen."""
        self._started_at, conf = time.monotonic(), self.conf
        asyncio.get_running_loop().set_exception_handler(_loop_trouble)
        if armed := failpoints.armed():
            log.critical("FAILPOINTS ARE ARMED: this worker will die, freeze or fail on purpose at %s", armed)
        self.flow_control.resume()
        self._collector.take_over()
        loop_watch = LoopWatch(self.metrics)
        await self.add_runtime_dependency(loop_watch)
        await self.add_runtime_dependency(Watchdog(self.running_call, lambda: loop_watch.looks))
        if conf.web_enabled:
            await self.add_runtime_dependency(WebPort(conf.web_bind, conf.web_port, pages(self)))
        await self.add_runtime_dependency(self.runtime)
        log.info(
            "samplejoin %s, job %s: %s, key (%s), window %s, %s, brokers %s, %s",
            samplejoin.__version__,
            self.job.model.prefix,
            counted(len(self.job.spec.streams), "stream"),
            ", ".join(self.job.model.key),
            format_duration(self.job.spec.window_ms),
            counted(self.config.partitions, "join partition"),
            self.config.connection.get("bootstrap_servers"),
            f"web port {conf.web_port} on {conf.web_bind}" if conf.web_enabled else "no web port",
        )
        await super().on_started_init_extra_services()

    def worker_init(self) -> None:
        """Refuses options that have no meaning for a job. Each of Faust's own commands calls it."""
        faust_command.refuse(click.get_current_context(silent=True))
        super().worker_init()

    def _create_directories(self) -> None:
        """Creates nothing: Faust's tables are not used, and the engine creates the state directory with its checks."""

    def fatal(self, error: BaseException) -> None:
        """Ends the worker on its first error, with a message that says what to do. Commits nothing more."""
        if self.failure is not None:
            return
        if isinstance(error, DENIALS):
            error = Denied("the job cannot go on", error)
        self.failure = error
        self.runtime.give_up()
        asyncio.get_running_loop().call_soon(
            self._stop_worker
        )  # before logging, since formatting the error can run a user's code
        self._say_failure(error)

    def _say_failure(self, error: BaseException) -> None:
        if isinstance(error, SamplejoinError):
            log.error("worker stops: %s", error)
        elif isinstance(error, MemoryError):
            log.error(
                "worker stops: out of memory: %s. Give it more, or set limits.memory. If it is always the same "
                "record, pass over it: samplejoin skip",
                error,
            )
        else:
            log.error(
                "worker stops on an unexpected error; the next owner repeats what was not committed", exc_info=error
            )

    def warnings(self) -> list[str]:
        """Returns warnings of a worker that runs: held clocks, too many dead letters, odd input."""
        return self.runtime.clocks.warnings() + self.quality.warnings + self.input.warnings()

    def _stop_worker(self) -> None:
        target = self.worker if self.worker is not None else self
        if self.worker is not None and self.failure is not None:
            self.worker.ending.begin()
        self.ending = asyncio.ensure_future(target.stop())


def make_app(path: Path, settings: WorkerSettings, sets: Sets = ()) -> JoinApp:
    """Builds the app of the job file at `path`. Raises JobError."""
    job, connection = asyncio.run(open_job(path, sets, lambda connection: _topics_there(connection, settings)))
    return JoinApp(job, engine_config(job, settings, connection), settings)


async def _topics_there(connection: Mapping[str, Any], settings: WorkerSettings) -> list[str]:
    """Returns all topics of the cluster, for streams given by a pattern. Waits for a broker."""
    setup_logging(settings.log_format, "INFO")
    return await until_answered("looking for topics that match a pattern", connection, lambda: list_topics(connection))


def __getattr__(name: str) -> Any:
    """Makes `app` from `SAMPLEJOIN_JOB` on first access. Raises click errors that name only a bad job's problems."""
    if name != "app":
        raise AttributeError(name)
    faust_command.show_what_is_there()
    faust_command.refuse_relative_workdir(sys.argv)
    try:
        settings = worker_settings()
        made = make_app(settings.job, settings)
    except JobError as error:
        raise click.UsageError(str(error)) from None
    except (KafkaError, Refused, WorkerError, OSError) as error:
        raise click.ClickException(str(error)) from None
    globals()["app"] = made
    return made


def _loop_trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handles errors that nobody awaited, such as those of aiokafka's own futures: Kafka errors are logged at DEBUG."""
    error = context.get("exception")
    if isinstance(error, KafkaError):
        log.debug("%s: %r", context.get("message"), error)
    elif used_up := out_of_files(error):  # a server that cannot accept reports it every second
        if time.monotonic() - _said_at.get(used_up, -SAY_EVERY_S) >= SAY_EVERY_S:
            _said_at[used_up] = time.monotonic()
            log.warning("%s", used_up)
    else:
        loop.default_exception_handler(context)


def run(app: JoinApp, loglevel: str = "INFO") -> None:
    """Runs the worker until it is told to stop, then ends the process."""
    sys.argv[0] = "samplejoin"
    app.finalize()
    app.Worker(loglevel=loglevel).execute_from_commandline()
