"""A real Kafka with listeners for TLS, logins and ACLs; certificates made by openssl."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.support.server import KafkaServer

LISTENERS = {
    "TLS": "SSL",  # as it should be
    "EXPIRED": "SSL",
    "OTHERHOST": "SSL",
    "MUTUAL": "SSL",  # wants a certificate of the client
    "LOGIN": "SASL_PLAINTEXT",
    "TLSLOGIN": "SASL_SSL",
}
PASSWORDS = {"worker": "hush-4711"}


class Certificates:
    """An authority, and certificates that it has given out, as PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("req", "-x509", *_NEW, "-keyout", "ca.key", "-out", "ca.pem", "-days", "9", "-subj", "/CN=ca")
        self._openssl("req", "-x509", *_NEW, "-keyout", "no.key", "-out", "no.pem", "-days", "9", "-subj", "/CN=no")

    def give(self, name: str, host: str, *, expired: bool = False, authority: str = "ca") -> Path:
        """A file with key and certificate for a host."""
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={host}\n")
        self._openssl("req", *_NEW, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        days = "-1" if expired else "9"
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-out", f"{name}.crt", "-extfile", f"{name}.ext", "-days", days,
        )  # fmt: skip
        both = self.folder / f"{name}.pem"
        both.write_text((self.folder / f"{name}.key").read_text() + (self.folder / f"{name}.crt").read_text())
        return both

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


_NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def secured_properties(certificates: Certificates) -> dict[str, object]:
    """Settings of a broker with `LISTENERS`, and an authoriser that lets everybody without a login do everything."""
    here = "IP:127.0.0.1"
    keys = {
        "tls": certificates.give("tls", here),
        "expired": certificates.give("expired", here, expired=True),
        "otherhost": certificates.give("otherhost", "DNS:kafka.example"),
    }
    keys |= {"mutual": keys["tls"], "tlslogin": keys["tls"]}
    users = " ".join(f'user_{name}="{password}"' for name, password in PASSWORDS.items())
    plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties: dict[str, object] = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "listener.name.mutual.ssl.client.auth": "required",
        "connection.failed.authentication.delay.ms": 0,
    }
    for name, key in keys.items():
        properties |= {
            f"listener.name.{name}.ssl.keystore.type": "PEM",
            f"listener.name.{name}.ssl.keystore.location": key,
            f"listener.name.{name}.ssl.truststore.type": "PEM",
            f"listener.name.{name}.ssl.truststore.location": certificates.folder / "ca.pem",
        }
    for name in ("login", "tlslogin"):
        properties |= {
            f"listener.name.{name}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            f"listener.name.{name}.plain.sasl.jaas.config": plain,
            f"listener.name.{name}.scram-sha-256.sasl.jaas.config": scram,
        }
    return properties


def set_scram_passwords(server: KafkaServer, passwords: Mapping[str, str]) -> None:
    """Makes users who log in by SCRAM-SHA-256, or gives them other passwords."""
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    users: list[Any] = [UserScramCredentialUpsertion(n, info, password.encode()) for n, password in passwords.items()]
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    for each in admin.alter_user_scram_credentials(users).values():
        each.result(30)
