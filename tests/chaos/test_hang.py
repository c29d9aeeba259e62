"""A cleaning function that blocks a worker for longer than its group waits."""

from __future__ import annotations

import os

import pytest

from tests.integration.scenes import edit_job
from tests.integration.support import feed

pytestmark = pytest.mark.kafka

FUNCTIONS = """
import select


def clean(record):
    if record.get("pos") == 7 and record["uid"] == "u3":
        select.select([], [], [], 4.5)
    return None if record.get("drop") else record
"""


@pytest.mark.skipif(os.environ.get("SAMPLEJOIN_TEST_LONG") != "1", reason="SAMPLEJOIN_TEST_LONG=1 only")
@pytest.mark.rule(12)
def test_a_record_that_takes_longer_than_the_session_is_passed(world, start_worker):
    """Its owner is out of the group when it returns, and so will be whoever reads it next. It is passed still."""
    (world.root / "slow.py").write_text(FUNCTIONS)
    edit_job(world, ("functions:clean", "slow:clean"))
    world.send(feed(seed=31, seconds=60, per_second=40))
    world.end()
    static = [{"SAMPLEJOIN_SESSION_TIMEOUT_MS": "3000", "SAMPLEJOIN_INSTANCE_ID": f"w{n}"} for n in (1, 2)]
    workers = [start_worker(world, n, **each) for n, each in enumerate(static, 1)]
    world.wait_until_complete(workers, timeout_s=120)
    world.check()
