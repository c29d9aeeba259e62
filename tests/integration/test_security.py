"""A real Kafka with TLS, logins and ACLs: brokers that refuse this client are told apart in one line each,
missing rights are named, and a login or a right that is revoked ends a worker."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from samplejoin.connection_errors import Refused
from samplejoin.demo.process import free_port
from samplejoin.engine.clients import admin, running, until_answered
from tests.conftest import kafka_server
from tests.integration.support import Worker, World, feed, wait_for
from tests.support.secured import LISTENERS, PASSWORDS, Certificates, secured_properties, set_scram_passwords

pytestmark = [
    pytest.mark.kafka,
    # the client does not wait until a connection that failed is closed
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

KINDS = {
    "topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}  # fmt: skip
OPERATIONS = {
    "Read": AclOperation.READ, "Write": AclOperation.WRITE, "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE, "Describe": AclOperation.DESCRIBE, "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(certificates):
    with kafka_server(listeners=LISTENERS, properties=secured_properties(certificates)) as server:
        set_scram_passwords(server, PASSWORDS)
        yield server


def login(
    user: str = "worker", password: str = PASSWORDS["worker"], mechanism: str = "SCRAM-SHA-256"
) -> dict[str, Any]:
    return {"sasl_mechanism": mechanism, "sasl_plain_username": user, "sasl_plain_password": password}


def tls(certificates: Certificates, ca: str = "ca.pem", key: Path | None = None) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(certificates.folder / ca))
    if key is not None:
        context.load_cert_chain(key)
    return {"ssl_context": context}


def connect(server: Any, listener: str, protocol: str, **options: Any) -> None:
    """As a worker does when it starts: without end, unless it is refused."""
    connection = {"bootstrap_servers": server.at[listener], "security_protocol": protocol, **options}

    async def attempt() -> None:
        async with running(admin(SimpleNamespace(connection=connection))) as client:  # type: ignore[arg-type]
            await client.list_topics()

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await until_answered("asking", connection, attempt)

    asyncio.run(bounded())


def test_a_refused_login_ends_every_command_at_once(secured, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(
        f"name: refused\nbrokers: {secured.at['LOGIN']}\n"
        "security: {protocol: SASL_PLAINTEXT, mechanism: PLAIN, username: worker, password: '${env:SECRET}'}\n"
        "streams:\n  shows: {role: anchor, topic: shows, time: ts}\n  clicks: {role: label, topic: clicks, time: ts}\n"
        "key: [uid]\nwindow: 20s\nsample: {n: {from: clicks, agg: count}}\n"
    )
    pattern = tmp_path / "pattern.yaml"
    pattern.write_text(job.read_text().replace("topic: shows", "pattern: 'sho.*'"))
    environ = {
        **os.environ,
        "SECRET": "not-the-one",
        "SAMPLEJOIN_JOB": str(job),
        "SAMPLEJOIN_WEB_PORT": str(free_port()),
    }
    samplejoin = [sys.executable, "-m", "samplejoin.cli"]
    commands = {
        "worker": ([sys.executable, "-m", "faust", "-A", "samplejoin", "worker"], 1),
        "worker of a pattern": ([*samplejoin, "worker", str(pattern)], 1),
        "check": ([*samplejoin, "check", str(job)], 1),
        "verify": ([*samplejoin, "verify", str(job)], 2),  # nothing can be verified
        "status": ([*samplejoin, "status", str(job)], 1),
        "reset": ([*samplejoin, "reset", str(job), "--yes"], 1),
        "migrate": ([*samplejoin, "migrate", str(job), "--from-generation", "1", "--set", "generation=2"], 1),
    }
    started = {
        name: subprocess.Popen(
            command, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name, (command, _) in commands.items()
    }
    said = {name: process.communicate(timeout=60)[0] for name, process in started.items()}
    for name, (_, status) in commands.items():
        assert started[name].returncode == status, (name, said[name])
        assert said[name].count("refuses the login of user worker by PLAIN") == 1, said[name]
        assert "Traceback" not in said[name]
        assert "not-the-one" not in said[name]


def test_refusals_are_told_apart(secured, certificates):
    good = tls(certificates)
    connect(secured, "TLS", "SSL", **good)
    connect(secured, "MUTUAL", "SSL", **tls(certificates, key=certificates.folder / "tls.pem"))
    connect(secured, "LOGIN", "SASL_PLAINTEXT", **login())
    connect(secured, "TLSLOGIN", "SASL_SSL", **good, **login(mechanism="PLAIN"))
    foreign = certificates.give("foreign", "IP:127.0.0.1", authority="no")
    expired = certificates.folder / "expired.pem"
    refusals: list[tuple[str, str, dict[str, Any], str]] = [
        (
            "LOGIN",
            "SASL_PLAINTEXT",
            login(password="wrong"),
            "refuses the login of user worker by SCRAM-SHA-256: correct",
        ),
        ("LOGIN", "SASL_PLAINTEXT", login(user="nobody"), "refuses the login of user nobody by SCRAM-SHA-256: correct"),
        ("TLSLOGIN", "SASL_SSL", good | login("worker", "wrong", "PLAIN"), "refuses the login of user worker by PLAIN"),
        (
            "LOGIN",
            "SASL_PLAINTEXT",
            login(mechanism="SCRAM-SHA-512"),
            "does not accept logins by SCRAM-SHA-512: correct",
        ),
        ("EXPIRED", "SSL", good, "its certificate has expired: renew it"),
        ("OTHERHOST", "SSL", good, "its certificate is for another host"),
        ("TLS", "SSL", tls(certificates, "no.pem"), "its certificate comes from an authority that is not trusted"),
        ("MUTUAL", "SSL", good, "refuses our certificate"),
        ("MUTUAL", "SSL", tls(certificates, key=foreign), "refuses our certificate"),
        ("MUTUAL", "SSL", tls(certificates, key=expired), "refuses our certificate"),
        ("TLS", "PLAINTEXT", {}, "speaks SSL there, security.protocol is PLAINTEXT: set it to SSL"),
        ("LOGIN", "SSL", good, "speaks SASL_PLAINTEXT there, security.protocol is SSL"),
        ("LOGIN", "PLAINTEXT", {}, "speaks SASL_PLAINTEXT there, security.protocol is PLAINTEXT"),
        ("TLSLOGIN", "SASL_PLAINTEXT", login(), "speaks SASL_SSL there, security.protocol is SASL_PLAINTEXT"),
        ("TLSLOGIN", "SSL", good, "speaks SASL_SSL there, security.protocol is SSL"),
        ("TLS", "SASL_SSL", good | login(), "speaks SSL there, security.protocol is SASL_SSL"),
    ]
    for listener, protocol, options, words in refusals:
        with pytest.raises(Refused) as refused:
            connect(secured, listener, protocol, **options)
        assert f"broker {secured.at[listener]}" in str(refused.value)
        assert words in str(refused.value), (listener, protocol)
    secured.at["PLAINTEXT"] = secured.bootstrap
    with pytest.raises(Refused, match=r"speaks PLAINTEXT there, security\.protocol is SASL_PLAINTEXT"):
        connect(secured, "PLAINTEXT", "SASL_PLAINTEXT", **login())


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


def world_of(server: Any, name: str, root: Path, user: str, mechanism: str) -> World:
    """A job whose user logs in; the password is in `SECRET`."""
    world = World(server, name, root)
    text = world.job_file.read_text().replace(server.bootstrap, server.at["LOGIN"])
    security = f"{{protocol: SASL_PLAINTEXT, mechanism: {mechanism}, username: {user}, password: '${{env:SECRET}}'}}"
    world.job_file.write_text(f"{text}security: {security}\n")
    return world


def check(world: World, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "samplejoin.cli", "check", str(world.job_file), *options]
    environ = {**os.environ, "SECRET": PASSWORDS["worker"]}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def workers_rights(world: World) -> list[str]:
    lines = check(world, "--acls", "--no-broker").stdout.splitlines()
    return lines[: lines.index("# reset, on top of a worker's rights")]


def problems(world: World) -> str:
    done = check(world, "-o", "json")
    assert done.stderr == ""
    return "\n".join(each["message"] + " " + (each["hint"] or "") for each in json.loads(done.stdout)["problems"])


def test_rights_are_named_when_they_miss_and_when_they_go(secured, tmp_path):
    world = world_of(secured, "acl", tmp_path, "worker", "PLAIN")
    rights = Rights(secured.bootstrap)
    none = problems(world)
    assert "topic acl-click does not exist" in none
    assert "the right Read on topic acl-click is missing" in none
    assert "the right Write on topic acl-samples is missing" in none
    assert "the right Delete, Read, Write on topic acl-changelog is missing" in none
    assert "the right Read on group acl is missing" in none
    assert "the right Write on transactional ids acl-join- is missing" in none

    lines = workers_rights(world)
    rights.give(lines)
    rights.take("acl-samples", "Create")
    assert problems(world).startswith("topic acl-samples does not exist and cannot be created: the right Create on it")
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


def test_a_login_that_is_refused_later_ends_a_worker(secured, tmp_path):
    world = world_of(secured, "login", tmp_path, "rotated", "SCRAM-SHA-256")
    set_scram_passwords(secured, {"rotated": "the-first-one"})
    Rights(secured.bootstrap).give(workers_rights(world))
    worker = Worker(world, 1, SECRET="the-first-one").start()
    try:
        worker.wait_ready()
        set_scram_passwords(secured, {"rotated": "another-one"})
        secured.stop()  # connections that are logged in stay so
        secured.start()
        wait_for(lambda: worker.running().poll() is not None, 60, worker.log_tail)
    finally:
        worker.close()
    assert worker.running().returncode == 1
    log = worker.log.read_text()
    stops = [line for line in log.splitlines() if "worker stops" in line]
    assert len(stops) == 1, log[-3000:]
    assert "refuses the login of user rotated by SCRAM-SHA-256: correct security.username" in stops[0]
    assert "unexpected error" not in log
    assert "Traceback" not in log
    assert "the-first-one" not in log
