"""Translates the job's brokers and `security` to arguments of aiokafka's clients."""

from __future__ import annotations

import ssl
from pathlib import Path

from samplejoin.errors import RefusedError
from samplejoin.job.errors import Issue, JobError
from samplejoin.job.files import open_regular
from samplejoin.job.model import JobModel


def client_options(model: JobModel, base_dir: Path | str) -> dict[str, object]:
    """Returns the keyword arguments of every aiokafka client. Raises JobError if a TLS file cannot be used."""
    security = model.security
    options: dict[str, object] = {
        "bootstrap_servers": ",".join(model.brokers),
        "security_protocol": security.protocol,
    }
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = _tls(model, Path(base_dir))
    if security.protocol.startswith("SASL"):
        options["sasl_mechanism"] = security.mechanism
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password.get_secret_value() if security.password else None
    return options


def _tls(model: JobModel, base_dir: Path) -> ssl.SSLContext:
    security = model.security
    key = "ca_file"
    try:
        for key in ("ca_file", "cert_file", "key_file"):
            if path := getattr(security, key):
                with open_regular(base_dir / path):
                    pass
        key = "ca_file"
        context = ssl.create_default_context(cafile=str(base_dir / security.ca_file) if security.ca_file else None)
        if security.cert_file and security.key_file:
            key = "cert_file"
            context.load_cert_chain(str(base_dir / security.cert_file), str(base_dir / security.key_file), _no_prompt)
    except RefusedError as error:
        raise JobError([model.places.problem(Issue(("security", key), str(error), error.hint))]) from error
    except (OSError, ssl.SSLError) as error:
        issue = Issue(("security", key), f"cannot be used: {error.strerror or error}")
        raise JobError([model.places.problem(issue)]) from error
    except _EncryptedKey as error:
        hint = "openssl pkey -in KEY -out PLAIN; keep that file readable by the worker's user only"
        issue = Issue(("security", "key_file"), "is encrypted; keys with a passphrase are not supported yet", hint)
        raise JobError([model.places.problem(issue)]) from error
    return context


class _EncryptedKey(Exception):
    """The client's key is encrypted with a passphrase."""


def _no_prompt() -> str:
    """Raises _EncryptedKey, so that OpenSSL does not ask for a passphrase on the terminal."""
    raise _EncryptedKey
