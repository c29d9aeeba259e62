"""The engine's settings, as a job and its environment give them."""

from __future__ import annotations

import pytest

from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.settings import WorkerSettings
from tests.job.helpers import job_data

T = 1_769_860_800_000


def config_of(tmp_path, **changes):
    job = compile_job(model_of(job_data(**changes), environ={}), tmp_path)
    return engine_config(job, WorkerSettings(), {})


@pytest.mark.rule(9)
@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, "earliest"),
        ({"start": "latest"}, "latest"),
        ({"start": "2026-01-31T12:00:00Z"}, T - 61_000),  # max_skew, and a step of event time
        ({"start": "2026-01-31T12:00:00Z", "before": "5m", "max_skew": "1s"}, T - 302_000),
        ({"start": "1970-01-01T00:00:01Z"}, 0),
    ],
)
def test_reading_begins_before_the_first_event_that_counts(tmp_path, changes, start):
    """A record may be older than its event by `max_skew`; labels lie up to `before` before their anchor."""
    assert config_of(tmp_path, **changes).start == start


def test_names_carry_the_generation(tmp_path):
    config = config_of(tmp_path, generation=3)
    assert config.group == "feed-g3"
    assert config.transactional_id(2) == "feed-g3-join-2"
    assert (config.topics.changelog, config.topics.samples) == ("feed-g3-changelog", "feed-samples")


def test_a_drain_is_no_static_member(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLEJOIN_INSTANCE_ID", "pod-1")
    assert config_of(tmp_path).instance_id == "pod-1"
    monkeypatch.setenv("SAMPLEJOIN_DRAIN", "true")
    assert config_of(tmp_path).instance_id is None


def test_a_relative_state_directory_stays_where_the_worker_began(tmp_path, monkeypatch):
    """A user's function may change the working directory."""
    monkeypatch.chdir(tmp_path)
    assert config_of(tmp_path, state_dir="state").state_dir == tmp_path / "state"
