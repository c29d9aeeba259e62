"""Patterns of topics, and the fingerprint: what changes it, and what it tells about an edit."""

from __future__ import annotations

import pytest

from samplejoin.core.fingerprint import differences, edited
from samplejoin.job.compile import assume_topics, compile_job, resolve_topics
from samplejoin.job.errors import JobError
from tests.job.compiling import compiled
from tests.job.helpers import model

PATTERN = {"streams__click__topic": None, "streams__click__pattern": "cl.*"}


def test_patterns(folder):
    job = model(**PATTERN)
    resolved = resolve_topics(job, ["clk", "click-2", "imp", "xcl", "__cl"])
    assert resolved.streams["click"].topic_names == ("click-2", "clk")
    assert job.streams["click"].topic_names == ()
    assert compile_job(resolved, folder).spec.streams[1].topics == ("click-2", "clk")
    again = resolve_topics(resolved, ["clk", "clk-3"])
    assert again.streams["click"].topic_names == ("clk", "clk-3")
    assert compile_job(assume_topics(job), folder).spec.streams[1].topics == ("cl.*",)


def test_a_pattern_that_matches_nothing():
    with pytest.raises(JobError, match=r"streams.click.pattern: no topic matches 'cl.\*' \(hint: topics: imp\)"):
        resolve_topics(model(**PATTERN), ["imp"])


def test_a_pattern_that_shares_a_topic():
    job = model(streams__click__topic=None, streams__click__pattern="i.*", streams__click__time="other")
    with pytest.raises(JobError, match="reads the same topic imp"):
        resolve_topics(job, ["imp"])


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"key": ["mid", "uid"]},
        {"window": "21m"},
        {"before": "1s"},
        {"resolution": "2s"},
        {"repeat": "each"},
        {"keep_negatives": 0.5},
        {"label": "clicks > 1"},
        {"format": "csv"},
        {"partitions": 5},
        {"streams__click__topic": "c2"},
        {"streams__click__time": "t2"},
        {"streams__click__time_unit": "s"},
        {"streams__click__id": "i"},
        {"sample__x": "impression.x"},
        {"sample__pos": {"from": "impression.pos", "agg": "last"}},
        {"limits__rows": 5},
    ],
)
def test_the_fingerprint_changes_with_the_meaning(folder, changes):
    assert compiled(folder, **changes).fingerprint != compiled(folder).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"brokers": "other:1"},
        {"outputs": {"samples": {"topic": "s", "compression": "lz4"}}},
        {"commit_interval": "1s"},
        {"combine": False},
        {"web_port": 1},
        {"state_dir": "x"},
        {"limits__cache_keys": 5000},
        {"start": "latest"},
        {"sample__pos": {"from": "impression.pos", "agg": "first"}},
        {"idle_after": "9s"},
        {"max_skew": "9s"},
        {"lateness": "9s"},
        {"streams__impression__lateness": "1s"},
    ],
)
def test_the_fingerprint_does_not_change_with_tuning(folder, changes):
    assert compiled(folder, **changes).fingerprint == compiled(folder).fingerprint


def test_the_fingerprint_is_stable(folder):
    assert compiled(folder).fingerprint == (
        "d05c3eafacc4b68a attribution=d785 before=8236 clock=4264 correction=8236 format=33ee junk_keys=4a0e "
        "keep_negatives=7eb8 key=4a11 label=c52d late=5f0d limits.key=75eb limits.rows=c3d6 name=283d partitions=88ed "
        "repeat=d6d5 resolution=8e31 sample=f47c streams=b588 streams.click=f1a1 "
        "streams.impression=37e0 window=6bc1"
    )


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, []),
        ({"window": "21m"}, ["window"]),
        ({"window": "21m", "before": "1m", "label": "clicks > 1"}, ["before", "label", "window"]),
        ({"sample__x": "impression.x"}, ["sample"]),
        ({"limits__rows": 5}, ["limits.rows"]),
        ({"partitions": 5}, ["partitions"]),
        ({"name": "other"}, ["name"]),
        ({"streams__click__id": "id"}, ["streams.click"]),
        ({"lateness": "1m", "generation": 3}, []),
    ],
)
def test_the_fingerprint_tells_what_was_edited(folder, changes, keys):
    old, new = compiled(folder).fingerprint, compiled(folder, **changes).fingerprint
    assert differences(old, new) == differences(new, old) == keys
    assert len(new) < 400


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a x=1 y=2", "a x=1 y=2", None),
        ("a x=1 y=2", "b x=1 y=3", "y was edited"),
        ("a x=1 y=2", "b x=2 y=3", "x and y were edited"),
        ("a x=1 y=2", "b x=2 y=3 z=1", "x, y and z were edited"),
        ("a", "a x=1", None),  # the form before, of the same job
        ("a", "b x=1", "its streams, key, window, fields, label or partitions were edited"),
        ("a x=1", "b x=1", "its streams, key, window, fields, label or partitions were edited"),
    ],
)
def test_what_is_said_of_an_edited_job(old, new, said):
    assert edited(old, new) == said


def test_the_jobs_own_topics_of_any_generation_match_no_pattern():
    own = [f"feed{g}-{each}" for g in ("", "-g2", "-g10") for each in ("repartition", "changelog", "progress")]
    job = model(streams__click__topic=None, streams__click__pattern="feed-.*(l|n|g|x)")
    resolved = resolve_topics(job, [*own, "feed-g2-x"])
    assert resolved.streams["click"].topic_names == ("feed-g2-x",)
