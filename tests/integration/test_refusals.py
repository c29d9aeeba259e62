"""Brokers that will not have this client: told apart in one line each, and final."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from samplejoin.connections import Refused
from samplejoin.demo.process import free_port
from samplejoin.engine.kafka import admin, running, until_answered
from tests.conftest import kafka_server
from tests.support.secured import LISTENERS, PASSWORDS, Certificates, add_scram_users, secured_properties

pytestmark = [
    pytest.mark.kafka,
    # the client does not wait until a connection that failed is closed
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(certificates):
    with kafka_server(listeners=LISTENERS, properties=secured_properties(certificates)) as server:
        add_scram_users(server)
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
        ("LOGIN", "SASL_PLAINTEXT", login(mechanism="SCRAM-SHA-512"), "takes no login by SCRAM-SHA-512: correct"),
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
