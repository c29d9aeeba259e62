"""Job files that are not files, and YAML that contains itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samplejoin.job.errors import JobError
from samplejoin.job.load import load_job
from tests.job.helpers import TEXT, errors_of, write
from tests.job.loading import SASL


def test_a_job_file_that_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "job.yaml")
    for path in (tmp_path / "job.yaml", Path("/dev/zero"), Path("/dev/null"), tmp_path):
        with pytest.raises(JobError, match=r"is not a regular file|Is a directory"):
            load_job(path, environ={})


def test_a_reference_to_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "secret")
    for name in ("secret", "/dev/zero"):
        (error,) = errors_of(write(tmp_path, SASL % f"${{file:{name}}}"))
        assert "is not a regular file" in error


def test_a_reference_may_be_a_link(tmp_path):
    """As secrets are in Kubernetes."""
    (tmp_path / "data").write_text("s3cret")
    (tmp_path / "secret").symlink_to("data")
    job = load_job(write(tmp_path, SASL % "${file:secret}"), environ={})
    assert job.security.password is not None
    assert job.security.password.get_secret_value() == "s3cret"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: &a {<<: *a}", 1),
        ("name: x\na: &a {b: {<<: *a}}", 2),
        ("a: &a [*a]", 1),
        ("a: &a {b: *a}", 1),
        ("a: &a {<<: [*a, *a]}", 1),
        (
            "a0: &a0 {k: 1}\n"
            + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 9)),
            1,
        ),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)), 1),
    ],
)
def test_aliases_that_contain_themselves_or_explode(tmp_path, text, line):
    errors = errors_of(write(tmp_path, text))
    assert errors[0].startswith(f"job.yaml:{line}: ")
    assert "an alias contains itself" in errors[0] or "more than 20000 values, aliases included" in errors[0]


def test_a_job_error_prints_its_problems_in_order(tmp_path):
    path = write(tmp_path, TEXT.replace("20m", "20").replace("role: label", "role: x"))
    with pytest.raises(JobError) as caught:
        load_job(path, environ={})
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["5", "9"]
