"""What the clients of a job are given to reach its brokers."""

from __future__ import annotations

import subprocess

import pytest

from samplejoin.job.connection import client_options
from samplejoin.job.errors import JobError
from tests.job.helpers import model


def test_a_key_with_a_passphrase_is_refused_with_what_to_do(tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:hush", "-keyout", tmp_path / "key.pem",
         "-out", tmp_path / "cert.pem", "-subj", "/CN=client"],
        check=True, capture_output=True,
    )  # fmt: skip
    job = model(security={"protocol": "SSL", "cert_file": "cert.pem", "key_file": "key.pem"})
    with pytest.raises(JobError) as refused:
        client_options(job, tmp_path)
    (problem,) = refused.value.problems
    assert "is encrypted; keys with a passphrase are not supported yet" in problem.message
    assert "openssl pkey " in str(problem.hint)
