"""Fixtures: those of the integration tests, and brokers with proxies for whole rounds."""

from __future__ import annotations

import pytest

from tests.chaos.brokers import Brokers
from tests.conftest import kafka_server
from tests.integration.conftest import start_worker, world

__all__ = ["brokers", "start_worker", "world"]


@pytest.fixture(scope="module")
def brokers(request):
    """As many as the test's parameter says."""
    kafka_server().close()  # skips, or fails, where there is no Kafka
    with Brokers(request.param) as started:
        yield started
