"""The systems that are compared, and how each is started. Jobs: bench/job, bench/floor.py, bench/peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.processes import Command
from samplejoin.demo.process import free_port

BENCH = Path(__file__).resolve().parent
#: where `make bench` puts the peers
BUILT = BENCH.parent / "build" / "bench"
JAVA_FLAGS = (
    "-Xmx4g",
    # what Flink itself gives to Java 17
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.lang", "java.util", "java.time")),
)


class Run(NamedTuple):
    """One run of one system: its name, its Kafka, its topics, its folder for state and logs."""

    id: str
    bootstrap: str
    folder: Path
    impressions: str = "imp"
    actions: str = "act"
    #: environment of this run alone
    settings: Mapping[str, str] = {}

    @property
    def out(self) -> str:
        """The topic of the samples."""
        return f"{self.id}-samples"

    def environment(self, number: int = 0) -> dict[str, str]:
        """The environment variables that the jobs of floor and peers read."""
        return {
            "BROKER": self.bootstrap, "RUN_ID": self.id, "RUN_DIR": str(self.folder), "PROC": str(number),
            "IMP": self.impressions, "ACT": self.actions, "OUT": self.out, "PYTHONUNBUFFERED": "1",
            **self.settings,
        }  # fmt: skip


class System(NamedTuple):
    """A system: its commands, and the files that they need; `first` is run to its end before them."""

    what: str
    commands: Callable[[Run], list[Command]]
    #: the window is 70 s of event time, else 10 s of the machine's clock
    event_time: bool = False
    needs: Path | None = None
    first: Callable[[Run], Command] | None = None
    #: topics of its own that it does not make itself
    topics: tuple[str, ...] = ()
    #: so long after the last sample no other comes: longer than a window or a checkpoint that ends all at once
    quiet_s: float = 12.0

    @property
    def window_s(self) -> float:
        """The least time between the last event and the last sample, in seconds."""
        return 0.0 if self.event_time else 10.0


def ours(run: Run, workers: int) -> list[Command]:
    """Returns workers, started as the documentation does."""
    argv = [sys.executable, "-m", "faust", "-A", "samplejoin", "worker", "-l", "info"]
    shared = {
        "BENCH_BROKERS": run.bootstrap, "SAMPLEJOIN_JOB": str(BENCH / "job" / "job.yaml"), "SAMPLEJOIN_NAME": run.id,
        "SAMPLEJOIN_OUTPUTS__SAMPLES__TOPIC": run.out, "SAMPLEJOIN_STREAMS__IMPRESSION__TOPIC": run.impressions,
        "SAMPLEJOIN_STREAMS__ACTION__TOPIC": run.actions, "SAMPLEJOIN_LOG_FORMAT": "json", **run.settings,
    }  # fmt: skip
    return [
        Command(argv, {**shared, "SAMPLEJOIN_STATE_DIR": str(run.folder / f"state{n}"),
                       "SAMPLEJOIN_WEB_PORT": str(free_port())})
        for n in range(workers)
    ]  # fmt: skip


def overlay(changes: Iterable[str]) -> dict[str, str]:
    """Returns the environment that applies changes, `KEY=VALUE` each, to our job file."""
    pairs = (change.partition("=") for change in changes)
    return {"SAMPLEJOIN_" + key.upper().replace(".", "__"): value for key, _, value in pairs}


def floor(run: Run) -> list[Command]:
    """bench/floor.py."""
    return [Command([sys.executable, "-m", "bench.floor"], run.environment())]


def flink(run: Run, backend: str, guarantee: str) -> list[Command]:
    """One JVM with a task manager of two slots."""
    home = BUILT / "flink"
    argv = ["java", *JAVA_FLAGS, "-cp", f"{home}/*:{home}/lib/*", "bench.SampleJob", f"state.backend.type={backend}"]
    return [Command(argv, {**run.environment(), "GUARANTEE": guarantee})]


def quix(run: Run) -> list[Command]:
    """Two processes of one consumer group."""
    argv = [python("quix"), str(BENCH / "peers" / "quix" / "quix_join.py")]
    return [Command(argv, run.environment(n)) for n in range(2)]


def bytewax_store(run: Run) -> Command:
    """Creates the recovery store, one part per process."""
    store = run.folder / "recovery"
    store.mkdir()
    return Command([python("bytewax"), "-m", "bytewax.recovery", str(store), "2"], {})


def bytewax(run: Run) -> list[Command]:
    """Two processes that shuffle between themselves; a snapshot every 10 s, as Flink's checkpoints."""
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    flow = str(BENCH / "peers" / "bytewax" / "bytewax_join.py")
    argv = [python("bytewax"), "-m", "bytewax.run", f"{flow}:flow", "-a", addresses, "-r", str(run.folder / "recovery"),
            "-s", "10", "-b", "0"]  # fmt: skip
    return [Command([*argv, "-i", str(n)], run.environment(n)) for n in range(2)]


def faust(run: Run) -> list[Command]:
    """Two workers of one app."""
    argv = [python("faust"), str(BENCH / "peers" / "faust" / "faust_join.py"), "worker", "-l", "warn"]
    return [Command([*argv, "--without-web"], run.environment(n)) for n in range(2)]


def python(peer: str) -> str:
    """The interpreter of a peer's own virtual environment."""
    return str(BUILT / "venvs" / peer / "bin" / "python")


def _flink(backend: str, guarantee: str) -> Callable[[Run], list[Command]]:
    return lambda run: flink(run, backend, guarantee)


FLINK_JAR = BUILT / "flink" / "flink-join-1.jar"
SYSTEMS: dict[str, System] = {
    "ours": System("samplejoin, 1 worker", lambda run: ours(run, 1), event_time=True, quiet_s=4.0),
    "ours-2": System("samplejoin, 2 workers", lambda run: ours(run, 2), event_time=True, quiet_s=4.0),
    "floor": System("the unavoidable steps only, 1 process", floor, topics=("blocks", "changelog"), quiet_s=4.0),
    "flink-rocksdb": System("Flink, RocksDB, at least once", _flink("rocksdb", "AT_LEAST_ONCE"), needs=FLINK_JAR),
    "flink-heap": System("Flink, heap state, at least once", _flink("hashmap", "AT_LEAST_ONCE"), needs=FLINK_JAR),
    "flink-rocksdb-exactly-once": System(
        "Flink, RocksDB, exactly once", _flink("rocksdb", "EXACTLY_ONCE"), needs=FLINK_JAR
    ),
    "flink-heap-exactly-once": System(
        "Flink, heap state, exactly once", _flink("hashmap", "EXACTLY_ONCE"), needs=FLINK_JAR
    ),
    "quix": System("Quix Streams, 2 processes", quix, needs=Path(python("quix"))),
    "bytewax": System("Bytewax, 2 processes", bytewax, needs=Path(python("bytewax")), first=bytewax_store),
    "faust": System("Faust as its documentation has it, 2 workers", faust, needs=Path(python("faust"))),
}
