"""The harness on a real Kafka: this project and its floor reach the truth, on the same topics."""

from __future__ import annotations

import pytest

from bench.generate import PARTITIONS, preload, truth
from bench.run import measure
from bench.systems import SYSTEMS, Run
from tests.support.kafka import create_topics

IMPRESSIONS = 20_000


@pytest.mark.kafka
def test_ours_and_the_floor_are_right(own_kafka, tmp_path):
    create_topics(own_kafka.bootstrap, {"imp": PARTITIONS, "act": PARTITIONS})
    events = preload(own_kafka.bootstrap, IMPRESSIONS)
    expected = truth(IMPRESSIONS, 70_000)
    for name in ("ours", "floor"):
        run = Run(f"test-{name}", own_kafka.bootstrap, tmp_path / name)
        result = measure(SYSTEMS[name], run, events, expected)
        assert result["right"], result
        assert result["events"] == events > IMPRESSIONS
        assert 0 < result["startup_cpu_s"] < result["cpu_s"]
        assert result["peak_mb"] > 0
        assert not run.folder.exists()
