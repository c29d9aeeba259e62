"""Tells why a connection to a broker failed: wrong login, certificate or protocol, or no broker there.

The Kafka client only logs the cause, and raises "unable to bootstrap" for all of them. So its function that connects is
wrapped. An error that would come again raises `Refused` while a client starts. A running client does not pass errors on
from there: `refused_since` returns its last refusal.
"""

from __future__ import annotations

import errno
import os
import resource
import ssl
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import aiokafka.client
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from samplejoin.core.user_errors import said
from samplejoin.core.user_errors import why_away as supposed
from samplejoin.errors import SamplejoinError

PROBE_MS = 3000
EXPIRED, NOT_YET = 10, 9
UNKNOWN_AUTHORITY = (18, 19, 20, 21)
OTHER_HOST = (62, 64)


class Refused(SamplejoinError):
    """A broker refuses this client, and would do so again; the message says what to change."""


class _Trouble(NamedTuple):
    at: float
    why: Exception | str


_last = _Trouble(float("-inf"), "")


def refused_since(monotonic: float) -> Refused | None:
    """Returns the refusal of the last failed connection, if it came at or after `monotonic` (s, `time.monotonic`)."""
    return _last.why if isinstance(_last.why, Refused) and _last.at >= monotonic else None


def why_away(error: BaseException, since: float) -> str:
    """Returns why no broker answers: the cause of the last connection failed since `since`, else a guess by `error`."""
    return str(_last.why) if _last.at >= since and str(_last.why) else supposed(error)


def out_of_files(error: BaseException | None) -> str | None:
    """Returns a message if this process, or the machine, can open no more files and connections; else None."""
    if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
        return None
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"this process has used up its {files} file descriptors, and can open no connection: raise `ulimit -n`"


class Spoken(NamedTuple):
    """The protocol of a listener: TLS or not, and the login mechanisms that it offers; None: without login."""

    tls: bool
    mechanisms: tuple[str, ...] | None

    @property
    def protocol(self) -> str:
        """The protocol as a value of `security.protocol`."""
        return ("SASL_" if self.mechanisms is not None else "") + ("SSL" if self.tls else "PLAINTEXT")


async def _connect(host: str, port: int, **options: object) -> object:
    """The client's `create_conn`, which remembers why it failed. A client that starts gives no `on_close`."""
    global _last
    starting = options.get("on_close") is None
    try:
        connection = await create_conn(host, port, **options)
        if starting:  # a listener with login accepts other connections, and closes them at their first request
            await _first_request(connection)
    except (OSError, KafkaError, AssertionError) as error:
        why = await _reason(f"{host}:{port}", error, options, partial(_listener, host, port))
        _last = _Trouble(time.monotonic(), why)
        if isinstance(why, Refused) and starting:
            raise why from error
        raise
    return connection


async def _first_request(connection: Any) -> None:
    try:
        await connection.send(MetadataRequest([]))
    except BaseException:
        await connection.close()
        raise


aiokafka.client.create_conn = _connect


async def _reason(broker: str, error: BaseException, options: dict[str, object], listener: Any) -> Refused | str:
    user, mechanism = options.get("sasl_plain_username"), options.get("sasl_mechanism")
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError):
        return Refused(
            f"broker {broker} refuses the login of user {user} by {mechanism}: correct security.username and "
            "security.password, or the user's rights to log in"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return Refused(f"broker {broker} does not accept logins by {mechanism}: correct security.mechanism ({error})")
    if refusal := _tls_refusal(broker, error):
        return refusal
    if used_up := out_of_files(error):
        return used_up
    closed = isinstance(error, KafkaConnectionError | IllegalSaslStateError | ssl.SSLError | AssertionError)
    if not closed and not isinstance(error, ConnectionResetError | ConnectionAbortedError):
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number).lower() if number > 0 else said(error)
        return f"broker {broker} cannot be reached ({reason}): is it running, are host and port right?"
    spoken, protocol = await listener(), options.get("security_protocol")
    if spoken is not None and spoken.protocol != protocol:
        return Refused(
            f"broker {broker} speaks {spoken.protocol} there, security.protocol is {protocol}: set it to "
            f"{spoken.protocol}, or name the port of a listener for {protocol} in brokers"
        )
    return f"broker {broker} ends the connection: {said(error)}"


def _tls_refusal(broker: str, error: BaseException) -> Refused | None:
    """Returns the refusal if the broker's or the client's certificate ended the connection, else None."""
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return Refused(f"broker {broker}: its certificate {_certificate(each)}")
        reason = str(getattr(each, "reason", None) or "")
        if isinstance(each, ssl.SSLError) and "ALERT" in reason:
            said_so = reason.partition("ALERT_")[2].lower().replace("_", " ")
            return Refused(
                f"broker {broker} refuses our certificate ({said_so}): give it one that it trusts and that is valid by "
                "security.cert_file and security.key_file"
            )
    return None


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    code, message = error.verify_code, error.verify_message.rstrip(".")
    if code == EXPIRED:
        return "has expired: renew it there"
    if code == NOT_YET:
        return "is not valid yet: look at the clock of this machine and at the certificate"
    if code in OTHER_HOST:
        return f"is for another host ({message}): name the broker in brokers as its certificate does"
    if code in UNKNOWN_AUTHORITY:
        return f"comes from an authority that is not trusted here ({message}): set security.ca_file"
    return f"is not valid: {message}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _listener(host: str, port: int) -> Spoken | None:
    """Asks a listener for its protocol; returns None if it gives no answer that can be understood."""
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lax.check_hostname, lax.verify_mode = False, ssl.CERT_NONE  # no secret is sent to it
    for context in (None, lax):
        try:
            connection = await create_conn(
                host,
                port,
                security_protocol="PLAINTEXT" if context is None else "SSL",
                ssl_context=context,
                request_timeout_ms=PROBE_MS,
            )
        except (OSError, KafkaError, AssertionError):
            continue
        try:
            answer = await connection.send(SaslHandShakeRequest("PLAIN"))
        except (OSError, KafkaError):
            return None
        finally:
            await connection.close()
        login = answer.error_code != IllegalSaslStateError.errno
        return Spoken(context is not None, tuple(answer.enabled_mechanisms) if login else None)
    return None
