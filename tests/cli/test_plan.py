"""`samplejoin plan`: its arithmetic, its error messages, and a docs page that agrees with it."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from typing import Any, get_args

import pytest

from samplejoin.admin import capacity_figures as figures
from samplejoin.admin.capacity import MOST_WORKERS, PARTITIONS_PER_WORKER, CapacityPlan, Load, plan_capacity
from samplejoin.agents.clean import RUN_RECORDS
from samplejoin.commands.init import project_files
from samplejoin.engine.config import WorkerError
from samplejoin.job.schema import job_schema
from samplejoin.job.sections import Output
from tests.cli.test_cli import loaded, run
from tests.docs.markdown import ROOT, Page
from tests.job.helpers import model, write

SCALING = Page(ROOT / "docs" / "scaling.md")
SESSION_TIMEOUT_MS = 10_000
CACHED: dict[str, Any] = {"limits__cache_keys": 100_000_000}
"""No state is read from RocksDB."""


def planned(events_per_s: float, load: Any = None, **changes: Any) -> CapacityPlan:
    """The plan of the small job, with keys of the job file changed."""
    return plan_capacity(model(**changes), Load(events_per_s, **(load or {})), SESSION_TIMEOUT_MS)


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_what_grows_with_the_rate_and_nothing_else():
    one, ten = planned(10_000), planned(100_000)
    for name in ("open_keys", "disk_bytes", "input_bytes_per_s", "changelog_bytes_per_s", "samples_bytes_per_s"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name), rel=1e-4), name


def test_the_window_is_open_for_its_lateness_and_correction():
    assert planned(1430, window="20m", lateness="0s").open_keys == 1000 * 1200
    assert planned(1430, window="20m", lateness="30s").open_keys == 1000 * 1230
    assert planned(1430, window="20m", lateness="1s", streams__click__lateness="30s").open_keys == 1000 * 1230
    corrected = planned(1430, lateness="0s", late="correct", correction="10m", outputs__late="late")
    assert corrected.open_keys == 1000 * 1800


def test_workers_are_rounded_up():
    one_worker = 0.5e6 / figures.CPU_US_PER_EVENT
    assert planned(one_worker * 0.9, {"keep_busy": 0.5}, **CACHED).workers_per_job == 1
    assert planned(one_worker * 1.1, {"keep_busy": 0.5}, **CACHED).workers_per_job == 2


@pytest.mark.parametrize("events_per_s", [1, 20_000, 100_000, 1_000_000, 20_000_000])
def test_no_worker_has_more_than_it_may(events_per_s):
    plan = planned(events_per_s)
    at_least = events_per_s * figures.CPU_US_PER_EVENT / 1e6 / 0.7
    assert plan.jobs * plan.workers_per_job >= at_least
    assert plan.workers_per_job <= min(plan.join_partitions_per_job, MOST_WORKERS)


def test_more_workers_cost_more_than_their_share():
    """Blocks get smaller and clocks have more sources; in the end the load takes several jobs."""
    large, huge = planned(500_000, **CACHED), planned(200_000_000, **CACHED)
    assert large.workers_per_job > 500_000 * figures.CPU_US_PER_EVENT / 0.7e6 + 1
    assert large.jobs == 1
    assert huge.jobs > 1


def test_the_size_of_an_event():
    one, four = planned(10_000), planned(10_000, {"event_bytes": 4 * figures.EVENT_BYTES})
    assert four.changelog_bytes_per_s == 4 * one.changelog_bytes_per_s
    assert four.samples_bytes_per_s == pytest.approx(4 * one.samples_bytes_per_s, rel=1e-5)
    assert one.disk_bytes < four.disk_bytes < 4 * one.disk_bytes  # keys and deadlines stay as they are
    assert one.workers_per_job == four.workers_per_job


def test_more_events_of_a_key_are_fewer_keys():
    one, two = planned(10_000, {"events_per_key": 1}), planned(10_000, {"events_per_key": 2})
    assert two.open_keys == pytest.approx(one.open_keys / 2, rel=1e-4)
    assert two.samples_bytes_per_s == pytest.approx(one.samples_bytes_per_s / 2, rel=1e-4)


def test_it_gives_what_was_measured():
    """The figures of docs/performance.md, from which its own were taken: 3 million keys on disk; one worker, two."""
    on_disk = planned(30_000, {"events_per_key": 1}, window="100s", lateness="0s", standby_replicas=1)
    assert on_disk.disk_bytes == 2 * 534_000_000
    one_worker = planned(13_000, {"events_per_key": 1, "keep_busy": 0.9}, window="70s", lateness="0s", **CACHED)
    assert one_worker.memory_bytes_per_worker == pytest.approx(582e6, rel=0.1)  # 910,000 keys


def test_memory_is_bounded_by_what_is_cached():
    cached, bounded = (planned(20_000, limits__cache_keys=keys) for keys in (100_000_000, 200_000))
    assert bounded.memory_bytes_per_worker < cached.memory_bytes_per_worker / 4
    assert not cached.notes
    assert "limits.cache_keys: 4400000 would keep all states in memory" in bounded.notes[0]


def test_a_standby_takes_disk_and_a_worker_more():
    alone, twice = planned(100), planned(100, standby_replicas=1)
    assert (alone.workers_per_job, twice.workers_per_job) == (1, 2)
    assert twice.disk_bytes == pytest.approx(2 * alone.disk_bytes, abs=2)
    assert alone.standby_s is None
    assert twice.standby_s == SESSION_TIMEOUT_MS / 1000 + figures.STANDBY_S


def test_an_empty_disk_takes_longer_than_the_same():
    plan = planned(100_000)
    assert plan.same_disk_s < plan.empty_disk_s


def test_the_partitions_of_the_job_file_stay_if_all_workers_have_one():
    assert planned(20_000, partitions=16).join_partitions_per_job == 16
    plan = planned(200_000, partitions=4)
    assert plan.join_partitions_per_job == 2 * plan.workers_per_job
    assert f"partitions: {plan.join_partitions_per_job}, not 4" in plan.notes[0]


def test_an_uneven_share_takes_more_workers():
    """Of four partitions one of three workers has two, as one of two workers would."""
    rate = 0.7e6 / figures.CPU_US_PER_EVENT * 2.2
    assert planned(rate, partitions=4, **CACHED).workers_per_job == 4
    assert planned(rate, partitions=6, **CACHED).workers_per_job == 3


def test_a_commit_less_often():
    often, rarely = (planned(1000, commit_interval=each).transactions_per_s for each in ("500ms", "2s"))
    assert often == 4 * rarely == 8


def test_brokers_follow_bytes_and_replicas():
    assert planned(1000).brokers == 3
    assert planned(1000, replication_factor=5).brokers == 5
    assert planned(10_000_000).brokers > 10
    one, three = (planned(1000, replication_factor=replicas).broker_disk_bytes for replicas in (1, 3))
    assert three == pytest.approx(3 * one, abs=3)


def test_a_backlog_that_is_soon_full_is_said():
    (note,) = planned(500_000, partitions=128, **CACHED).notes
    assert re.match(r"max_backlog: \d+00, not 2000: all inputs pause when a join partition is \d\.\d s behind", note)
    assert not planned(500_000, partitions=128, max_backlog=20_000, **CACHED).notes


def test_what_no_number_of_workers_carries():
    topics = [f"imp-{n}" for n in range(900)]
    with pytest.raises(WorkerError, match=r"901 input topics: even with 1000 jobs .* Allow them more, or use fewer"):
        planned(1_000_000, streams__impression__topic=None, streams__impression__topics=topics)


def test_the_figures_are_those_of_the_code():
    assert figures.RUN_RECORDS == RUN_RECORDS
    assert job_schema()["properties"]["partitions"]["maximum"] >= MOST_WORKERS * PARTITIONS_PER_WORKER
    assert set(figures.SAMPLE_BYTES) == set(get_args(Output.model_fields["compression"].annotation))


# ---- the command ----------------------------------------------------------------------------------------------------


def test_it_prints(tmp_path):
    result = run("plan", write(tmp_path), "--rate", "20k")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "feed: 20,000 events/s, window 20m, 17.2 million open keys\n  workers     2, of one core each, 70 % busy\n"
    )
    assert "python -m bench.cost" in result.stdout
    assert "jobs" not in result.stdout
    several = run("plan", write(tmp_path), "--rate", "50m").stdout
    assert re.search(r"^  jobs +\d+, each with a part of the keys", several, re.MULTILINE)


def test_json(tmp_path):
    found = json.loads(run("plan", write(tmp_path), "--rate", "1.5M", "--window", "5m", "-o", "json").stdout)
    assert set(CapacityPlan.__dataclass_fields__) < set(found)
    assert found["load"]["events_per_s"] == 1_500_000
    assert found["open_keys"] == round(1_500_000 / figures.EVENTS_PER_KEY * 330)
    assert found["cpu_us_per_event"] == figures.CPU_US_PER_EVENT
    assert found["standby_s"] is None


def test_the_session_timeout_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLEJOIN_SESSION_TIMEOUT_MS", "45000")
    arguments = ("--rate", "1000", "--set", "standby_replicas=1", "-o", "json")
    assert json.loads(run("plan", write(tmp_path), *arguments).stdout)["standby_s"] == 45.9


def test_it_loads_no_faust(tmp_path):
    assert "faust" not in loaded("plan", write(tmp_path), "--rate", "1k")


@pytest.mark.parametrize("rate", ["", "fast", "0", "-5k", "1g", "1e6", "nan", "inf", "0.5", "2000m", "9" * 99, "1k k"])
def test_rates_that_are_none(tmp_path, rate):
    result = run("plan", write(tmp_path), f"--rate={rate}")
    assert result.exit_code == 2
    assert re.search(r"Invalid value for '--rate': .*(500k, 1.5m|from 1 to 1000m events/s)", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--rate'"),
        (("--rate=1k", "--window=20"), "Invalid value for '--window': '20' is not a valid duration; whole numbers"),
        (("--rate=1k", "--window=1500ms"), "1s500ms is not a multiple of resolution 1s"),
        (("--rate=1k", "--window=0s"), "window: must be longer than 0s"),
        (("--rate=1k", "--set", "windo=5m"), "did you mean 'window'?"),
        (("--rate=1k", "--event-bytes=0"), "0 is not in the range"),
        (("--rate=1k", "--events-per-key=0.5"), "0.5 is not in the range"),
        (("--rate=1k", "--events-per-key=nan"), "nan is not a number"),
        (("--rate=1k", "--keep-busy=nan"), "nan is not a number"),
        (("--rate=1k", "--keep-busy=1"), "1.0 is not in the range"),
    ],
)
def test_other_mistakes(tmp_path, arguments, said):
    result = run("plan", write(tmp_path), *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


# ---- docs/scaling.md ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The page's job is the one that `samplejoin init` makes."""
    (tmp_path / "job.yaml").write_text(project_files("clickjoin")["job.yaml"])
    monkeypatch.chdir(tmp_path)


def test_the_examples_of_the_page_print_what_it_shows(project):
    blocks = list(SCALING.blocks("sh", "text"))
    shown = [(sh, text) for sh, text in pairwise(blocks) if text.language == "text"]
    assert shown
    for sh, text in shown:
        name, *arguments = shlex.split(sh.text)
        assert name == "samplejoin"
        assert run(*arguments).stdout == text.text, f"{text} is not what the command prints: copy it there"


def test_every_other_command_of_the_page_runs(project):
    commands = [line for block in SCALING.blocks("sh") for line in block.text.splitlines()]
    for line in commands:
        if line.startswith("samplejoin "):
            assert run(*shlex.split(line)[1:]).exit_code == 0, line


def table(rates: list[str], *arguments: str) -> str:
    """Plans side by side, as the page has them."""
    plans = [json.loads(run("plan", "job.yaml", "--rate", rate, *arguments, "-o", "json").stdout) for rate in rates]
    rows = {
        "jobs": [f"{p['jobs']}" for p in plans],
        "workers, of one core each": [f"{p['jobs'] * p['workers_per_job']}" for p in plans],
        "join partitions of a job": [f"{p['join_partitions_per_job']}" for p in plans],
        "open keys": [f"{p['open_keys'] / 1e6:,.0f} million" for p in plans],
        "state on disk, in all": [f"{p['disk_bytes'] / 1e9:,.0f} GB" for p in plans],
        "state on disk, a worker": [f"{p['disk_bytes_per_worker'] / 1e9:.1f} GB" for p in plans],
        "memory, a worker": [f"{p['memory_bytes_per_worker'] / 1e9:.1f} GB" for p in plans],
        "changelog": [f"{p['changelog_bytes_per_s'] / 1e6:.0f} MB/s" for p in plans],
        "repartition": [f"{p['repartition_bytes_per_s'] / 1e6:.0f} MB/s" for p in plans],
        "samples": [f"{p['samples_bytes_per_s'] / 1e6:.0f} MB/s" for p in plans],
        "transactions": [f"{p['transactions_per_s']:,}/s" for p in plans],
        "back on the same disk": [f"{p['same_disk_s']:.0f} s" for p in plans],
        "back on an empty disk": [f"{p['empty_disk_s']:.0f} s" for p in plans],
        "brokers": [f"{p['brokers']}" for p in plans],
        "their disk": [f"{p['broker_disk_bytes'] / 1e12:.0f} TB" for p in plans],
    }
    head = ["| events/s | " + " | ".join(rates) + " |", "|---" * (len(rates) + 1) + "|"]
    return "\n".join(head + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()])


@pytest.mark.parametrize("arguments", [(), ("--set", "limits.cache_keys=10000000")])
def test_the_tables_of_the_page_are_the_calculator_s(project, arguments):
    right = table(["100k", "500k", "1m", "5m"], *arguments)
    assert right in SCALING.text, f"docs/scaling.md should have this table:\n{right}"
