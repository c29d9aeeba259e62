"""Fixtures of all tests: the Kafka of the session, and the settings of Hypothesis."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.kafka import KafkaServer, KafkaUnavailableError

# `ci` runs the same examples every time; `explore` looks for new ones: HYPOTHESIS_PROFILE=explore pytest ...
# No deadlines: on a busy machine they only measure the neighbours.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that search for counterexamples: `make check` leaves them out."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("searches")


def kafka_server(**options: object) -> KafkaServer:
    """A server, not yet started. Without Java or jars the test is skipped, but fails where Kafka is required."""
    try:
        return KafkaServer(**options)  # type: ignore[arg-type]
    except KafkaUnavailableError as error:
        if os.environ.get("CI", "").lower() == "true" or os.environ.get("SAMPLEJOIN_REQUIRE_KAFKA") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """The broker that all tests share: take topic and group names from `unique()`, and never stop it."""
    with kafka_server() as server:
        yield server


@pytest.fixture
def own_kafka() -> Iterator[KafkaServer]:
    """A broker for one test alone, which may kill, pause and restart it; with Kafka's own least session timeout."""
    with kafka_server(properties={"group.min.session.timeout.ms": 6000}) as server:
        yield server
