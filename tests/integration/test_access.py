"""Access rights on a real Kafka with ACLs: what is missing is named, and rights that are taken away end a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from tests.conftest import kafka_server
from tests.integration.support import Worker, World, feed, wait_for
from tests.support.secured import LISTENERS, PASSWORDS, Certificates, secured_properties

pytestmark = pytest.mark.kafka

KINDS = {
    "topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}  # fmt: skip
OPERATIONS = {
    "Read": AclOperation.READ, "Write": AclOperation.WRITE, "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE, "Describe": AclOperation.DESCRIBE, "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}  # fmt: skip


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    with kafka_server(listeners=LISTENERS, properties=secured_properties(certificates)) as server:
        yield server


class Rights:
    """Grants and takes away what lines of `kafka-acls.sh` say."""

    def __init__(self, bootstrap: str) -> None:
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def give(self, lines: list[str]) -> None:
        bindings = [each for line in lines if not line.startswith("#") for each in _bindings(line.split())]
        for done in self.admin.create_acls(bindings).values():
            done.result(30)

    def take(self, topic: str, operation: str) -> None:
        anything: Any = None
        which = AclBindingFilter(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, anything, anything, OPERATIONS[operation],
            AclPermissionType.ANY,
        )  # fmt: skip
        for done in self.admin.delete_acls([which]).values():
            assert done.result(30), "there was no such right"


def _bindings(words: list[str]) -> list[AclBinding]:
    options = list(pairwise(words))
    operations = [value for option, value in options if option == "--operation"]
    names = [(KINDS[option[2:]], value) for option, value in options if option[2:] in KINDS and option != "--cluster"]
    if "--cluster" in words:
        names.append((KINDS["cluster"], "kafka-cluster"))
    pattern = ResourcePatternType.PREFIXED if "prefixed" in words else ResourcePatternType.LITERAL
    (principal,) = [value for option, value in options if option == "--allow-principal"]
    return [
        AclBinding(kind, name, pattern, principal, "*", OPERATIONS[each], AclPermissionType.ALLOW)
        for kind, name in names
        for each in operations
    ]


@pytest.fixture
def world(secured, tmp_path):
    world = World(secured, "acl", tmp_path)
    text = world.job_file.read_text().replace(secured.bootstrap, secured.at["LOGIN"])
    world.job_file.write_text(
        text + "security: {protocol: SASL_PLAINTEXT, mechanism: PLAIN, username: worker, password: '${env:SECRET}'}\n"
    )
    return world


def check(world: World, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "samplejoin.cli", "check", str(world.job_file), *options]
    environ = {**os.environ, "SECRET": PASSWORDS["worker"]}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def problems(world: World) -> str:
    done = check(world, "-o", "json")
    assert done.stderr == ""
    return "\n".join(each["message"] + " " + (each["hint"] or "") for each in json.loads(done.stdout)["problems"])


def test_rights_are_named_when_they_miss_and_when_they_go(secured, world):
    rights = Rights(secured.bootstrap)
    none = problems(world)
    assert "topic acl-click does not exist" in none
    assert "the right Read on topic acl-click is missing" in none
    assert "the right Write on topic acl-samples is missing" in none
    assert "the right Delete, Read, Write on topic acl-changelog is missing" in none
    assert "the right Read on group acl is missing" in none
    assert "the right Write on transactional ids acl-join- is missing" in none

    lines = check(world, "--acls").stdout.splitlines()
    rights.give(lines[: lines.index("# reset, beside a worker's rights")])
    rights.take("acl-samples", "Create")
    assert problems(world).startswith("topic acl-samples does not exist, and cannot be made: the right Create on it")
    rights.give([line for line in lines if "--topic acl-samples" in line])
    assert problems(world) == ""

    world.send(feed(seed=5, seconds=30, per_second=30))
    world.end()
    worker = Worker(world, 1, SECRET=PASSWORDS["worker"]).start()
    try:
        world.wait_until_complete([worker])
        world.check()
        assert problems(world) == ""
        rights.take("acl-samples", "Write")
        assert "the right Write on topic acl-samples is missing" in problems(world)
        world.send(feed(seed=6, seconds=30, per_second=30, start_s=900))
        world.end()
        wait_for(lambda: worker.running().poll() is not None, 60, worker.log_tail)
    finally:
        worker.close()
    assert worker.running().returncode == 1
    log = worker.log.read_text()
    assert log.count("the brokers deny it (TopicAuthorizationFailedError") == 1, log[-3000:]
    assert "a right is missing, or was taken away. `samplejoin check JOB --acls` prints" in log
    assert "unexpected error" not in log
    assert "Traceback" not in log
