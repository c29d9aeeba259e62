"""Fixtures: a world per test on the shared broker; workers that never outlive their test."""

from __future__ import annotations

import pytest

from tests.integration.support import Worker, World
from tests.support.kafka import unique


@pytest.fixture
def world(kafka, tmp_path):
    return World(kafka, unique("join"), tmp_path)


@pytest.fixture
def start_worker():
    started: list[Worker] = []

    def start(world: World, number: int, **environment: str) -> Worker:
        worker = Worker(world, number, **environment).start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.close()
