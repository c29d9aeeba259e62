"""Workers that are stopped, and what the commands then change."""

from __future__ import annotations

import os
import subprocess
import sys

from confluent_kafka.admin import AdminClient

from tests.integration.support import World


def command(world: World, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `samplejoin NAME JOB ...` to its end."""
    return subprocess.run(
        [sys.executable, "-c", "from samplejoin.cli import main; main()", name, str(world.job_file), *arguments],
        env={**os.environ, "SAMPLEJOIN_STATE_DIR": str(world.root / "state-1"), **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def topics_there(world: World) -> set[str]:
    topics = AdminClient({"bootstrap.servers": world.kafka.bootstrap}).list_topics(timeout=10).topics
    return {topic for topic in topics if topic.startswith(world.name)}
