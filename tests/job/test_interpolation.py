"""References to the environment and to files, and secrets that are not shown."""

from __future__ import annotations

import re

import pytest

from samplejoin.job.compile import compile_job
from samplejoin.job.connection import client_options
from samplejoin.job.errors import JobError
from samplejoin.job.load import load_job
from tests.job.helpers import TEXT, errors_of, write
from tests.job.loading import SASL


def test_references(tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    text = (SASL % "${file:secret}").replace("name: feed", "name: feed-${env:STAGE}")
    job = load_job(write(tmp_path, text), environ={"STAGE": "prod"})
    assert job.name == "feed-prod"
    assert job.security.password is not None
    assert job.security.password.get_secret_value() == "s3cret"
    escaped = TEXT + "label: pos == '$${x}'\n"
    assert load_job(write(tmp_path, escaped), environ={}).label == "pos == '${x}'"


def test_a_reference_is_resolved_once(tmp_path):
    job = load_job(write(tmp_path, SASL % "${env:P}"), environ={"P": "${env:Q}"})
    assert job.security.password is not None
    assert job.security.password.get_secret_value() == "${env:Q}"


QUOTED = [
    "label: \"1 if uid == '${env:X}' else pos + clicks\"",
    "format: ${env:X}",
    "junk_keys: ['${env:X}']",
    "key: [uid, '${env:X}']",
    "sample: {pos: '${env:X}'}",
    "sample: {pos: {from: imp.pos, agg: '${file:x}'}}",
    *(
        f"streams: {{imp: {{role: anchor, topic: imp, {key}: {value}}}}}"
        for key, value in {
            "clean": "'${env:X}'", "time": "'a.${env:X}'", "time_unit": "'${env:X}'", "id": "'${env:X}'",
            "decode": "'${env:X}'", "columns": "['${env:X}']", "delimiter": "'${env:X}'",
        }.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize("line", QUOTED)
def test_what_errors_of_records_quote_takes_no_reference(tmp_path, line):
    """In a file, on the command line and in the environment; an escaped one is text."""
    key = line.partition(":")[0]
    kept = re.sub(rf"(?m)^{key}:.*\n(?:[ -].*\n)*", "", TEXT)
    found = errors_of(write(tmp_path, f"{kept}{line}\n"), environ={"X": "hunter2"})
    (said,) = [error for error in found if "a reference is not allowed here" in error]
    assert "(hint: write the value itself, or set it with --set or in the environment" in said
    assert not any("hunter2" in error for error in found)


def test_nor_when_it_is_laid_over_the_file(tmp_path):
    path = write(tmp_path, TEXT)
    for sets, environ in ((["label=${env:X}"], {}), ([], {"SAMPLEJOIN_LABEL": "${env:X}"})):
        (said,) = errors_of(path, sets, {"X": "hunter2", **environ})
        assert "label: a reference is not allowed here" in said
    assert load_job(path, ["label='$${env:X}' == ''"], {}).label == "'${env:X}' == ''"


def test_names_and_places_take_references(tmp_path):
    text = TEXT + "brokers: ${env:X}:9092\nstate_dir: /var/${env:X}\noutputs: {samples: '${env:X}-samples'}\n"
    job = load_job(write(tmp_path, text), environ={"X": "prod"})
    assert (job.brokers, job.state_dir, job.outputs.samples.topic) == (("prod:9092",), "/var/prod", "prod-samples")


@pytest.mark.parametrize("password", ["s3cret", "x${env:P}", "12345", "${env:P}${env:P}"])
def test_a_literal_password_is_refused_and_not_shown(tmp_path, password):
    (error,) = errors_of(write(tmp_path, SASL % password), environ={"P": "p"})
    assert "job.yaml:13: security.password: must be a reference (hint: password: ${env:KAFKA_PASSWORD}" in error
    assert password not in error
    (error,) = errors_of(write(tmp_path, SASL % "${env:P}"), [f"security.password={password}"], {"P": "p"})
    assert error.startswith("--set security.password: ")


@pytest.mark.parametrize("password", ["s3cret", "12345", "[x", "# x", "a: b", "null"])
def test_a_password_in_the_environment(tmp_path, password):
    environ = {"SAMPLEJOIN_SECURITY__PASSWORD": password}
    job = load_job(write(tmp_path, SASL % "${env:P}"), environ=environ)
    assert job.security.password is not None
    assert job.security.password.get_secret_value() == password


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("window: ${env:X}", "hunter2!"),
        ("window: ${env:X}", "a"),
        ("brokers: ${env:X}", "it's"),
        ("late: ${env:X}", "zz"),
    ],
)
def test_what_a_reference_stood_for_is_not_shown(tmp_path, line, secret):
    text = TEXT.replace("window: 20m\n", "") if line.startswith("window") else TEXT
    found = errors_of(write(tmp_path, f"{text}{line}\n"), environ={"X": secret})
    assert found
    assert not any(secret in error for error in found if len(secret) > 1), found
    assert not any(f"{secret!r}" in error for error in found), found


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("label: ${env:X}", "hunter2 and swordfish"),
        ("label: ${env:X}", "unknown_field > 0"),
        ("format: ${env:X}", "hunter2"),
        ("format: ${env:X}", "hunter2:swordfish"),
        ("label: '${env:X}:swordfish'", "hunter2"),
        ("brokers: ${env:X}", "hunter2:9092,swordfish"),
        ("brokers: '${env:X},swordfish:9x'", "hunter2:9092"),
        ("name: ${env:X}", "hunter2 swordfish"),
        ("start: ${env:X}", "hunter2"),
        ("state_dir: ${env:X}\nwindow2: 5", "hunter2"),
        ("late: ${env:X}", "hunter2\nswordfish\n\ttabs"),
        ("outputs: {samples: '${env:X}'}", "imp"),
        ("outputs: {samples: '${env:X}'}", "hunter2/swordfish"),
        ("junk_keys: ['${env:X}', 1.5]", "hunter2"),
        ("security: {protocol: SSL, ca_file: '${env:X}'}", "hunter2.pem"),
    ],
)
def test_no_word_of_a_reference_is_shown_by_loading_or_compiling(tmp_path, line, secret):
    text = TEXT.replace("name: feed\n", "") if line.startswith("name") else TEXT
    path = write(tmp_path, f"{text}{line}\n")

    def started() -> None:
        model = load_job(path, environ={"X": secret})
        client_options(model, tmp_path)
        compile_job(model, tmp_path)

    with pytest.raises(JobError) as caught:
        started()
    found = [f"{problem.message} {problem.hint}" for problem in caught.value.problems]
    shown = [problem for problem in found if set(re.findall(r"\w{3,}", secret)) & set(re.findall(r"\w+", problem))]
    assert not shown


def test_other_places_say_the_reference_too(tmp_path):
    text = TEXT.replace("topic: clk", "topic: ${env:X}").replace("topic: imp,", "topic: '${env:X}', time_unit: s,")
    (error,) = errors_of(write(tmp_path, text), environ={"X": "clicks"})
    assert "streams.click.time_unit: differs from that of impression, which reads the same topic ${env:X}" in error


def test_a_short_secret_does_not_take_the_words_of_other_messages(tmp_path):
    text = (
        (SASL % "${env:X}")
        .replace("time: ts\nkey", "time: ts\n    time_unit: s\nkey")
        .replace("topic: clk", "topic: imp")
    )
    (error,) = errors_of(write(tmp_path, text), environ={"X": "which"})
    assert "differs from that of impression, which reads the same topic imp" in error
