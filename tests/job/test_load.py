"""From file, environment and command line to a model: lines, precedence, references, and no traceback ever."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from samplejoin.job.compile import compile_job
from samplejoin.job.connection import client_options
from samplejoin.job.errors import JobError
from samplejoin.job.load import load_job, model_of
from tests.job.helpers import JOB, TEXT, errors_of, job_data, write

SASL = TEXT + "security: {protocol: SASL_SSL, mechanism: PLAIN, username: bob, password: '%s'}\n"


def test_a_file(tmp_path):
    job = load_job(write(tmp_path), environ={})
    assert job.model_dump() == model_of(JOB, environ={}).model_dump()
    assert job.places.of(("streams", "click", "time")).line == 7


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("time: ts\nkey", "time_unti: s\nkey", "job.yaml:7: streams.click.time_unti: unknown key"),
        ("window: 20m", "window: 20", "job.yaml:9: window: 20 has no unit (hint: write 20s, 20m or 20ms)"),
        ("role: label", "role: lable", "job.yaml:5: streams.click.role: must be 'anchor' or 'label'"),
        ("key: [uid, mid]", "key: [uid, 5]", "job.yaml:8: key.1: must be text, not a number (hint: quote it)"),
        ("window: 20m", "window: 1500ms", "job.yaml:9: window: 1s500ms is not a multiple of resolution 1s"),
        ("agg: count", "agg: last", "job.yaml:12: sample.clicks.from: last needs a field of click"),
        ("window: 20m", "window: 20m\nwindow: 30m", "job.yaml:10: window: is a duplicate key: line 9 has it already"),
        ("topic: clk", "topic: clk\n    topic: x", "job.yaml:7: streams.click.topic: is a duplicate key: line 6"),
        ("    role: label\n", "", "job.yaml:4: streams.click.role: is missing"),
        ("window: 20m\n", "", "job.yaml: window: is missing"),
        ("name: feed", "name: 2026-01-31", None),
        ("name: feed", "name: no", None),
        ("name: feed", "name: 12:30", "job.yaml:1: name: '12:30' is not a valid job name"),
        ("name: feed", "name: !!python/name:os.system", "job.yaml:1: name: the tag tag:yaml.org,2002:python/name"),
        ("name: feed", "name: !!binary aGk=", "job.yaml:1: name: the tag"),
        ("key: [uid, mid]", "key: [uid, mid", "no YAML: "),
        ("    role: label", "\trole: label", "job.yaml:5: no YAML: found character '\\t'"),
        ("key: [uid, mid]", "key: *none", "job.yaml:8: no YAML: found undefined alias"),
        ("key: [uid, mid]", "key: &k [*k]", "job.yaml:8: key.0: an alias contains itself"),
        ("key: [uid, mid]", "1: x\nkey: [uid, mid]", "job.yaml:8: a key must be text (hint: quote it)"),
        ("name: feed", "---\nname: a\n---\nname: feed", "no YAML: but found another document"),
        ("key: [uid, mid]", "key: [uid, ${env:X}]", "job.yaml:8: no YAML: "),
        ("key: [uid, mid]", "key: [uid, ${env:X}]", "(hint: quote references inside {...} and [...]"),
        ("name: feed", "name: ${env:NAME", "job.yaml:1: name: has a ${ without its }"),
        ("name: feed", "name: ${env:NAME}", "job.yaml:1: name: the environment has no NAME"),
        ("name: feed", "name: ${var:NAME}", "job.yaml:1: name: ${var:NAME} is not a valid reference"),
        ("name: feed", "name: ${file:none}", "job.yaml:1: name: none cannot be read: No such file"),
    ],
)
def test_errors_with_file_and_line(tmp_path, old, new, expected):
    assert old in TEXT
    path = write(tmp_path, TEXT.replace(old, new))
    if expected is None:
        assert load_job(path, environ={}).name == new.removeprefix("name: ")
    else:
        assert any(expected in error for error in errors_of(path)), errors_of(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "job.yaml: is empty"),
        (b"# nothing\n", "job.yaml: is empty"),
        (b"- a\n", "job.yaml: must be a mapping"),
        (b"just text", "job.yaml: must be a mapping"),
        (b"name: a\nkey: \xff\n", "is not UTF-8 text: byte 0xff in line 2"),
        (b"name: \x00", "no YAML"),
        (b"a" * 300_000, "is larger than 256 KiB"),
        (b"[" * 5000, "nested too deeply"),
        (b"{a: " * 5000, "nested too deeply"),
    ],
)
def test_files_that_are_no_jobs(tmp_path, content, expected):
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    assert any(expected in error for error in errors_of(path)), errors_of(path)


def test_no_file(tmp_path):
    assert "there is no such file" in errors_of(tmp_path / "none.yaml")[0]
    assert "cannot be read" in errors_of(tmp_path)[0]


def test_alias_bombs_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("more than 20000 values" in e for e in errors_of(write(tmp_path, "\n".join(lines))))


def test_merge_keys(tmp_path):
    text = TEXT.replace("impression: {role: anchor,", "impression: &i {role: anchor,").replace(
        "    role: label\n    topic: clk\n    time: ts\n", "    <<: *i\n    role: label\n    topic: clk\n"
    )
    click = load_job(write(tmp_path, text), environ={}).streams["click"]
    assert (click.role, click.topic, click.time) == ("label", "clk", "ts")


def test_an_empty_value_is_null(tmp_path):
    assert load_job(write(tmp_path, TEXT + "max_wait:\n"), environ={}).max_wait_ms is None


# ---- precedence -----------------------------------------------------------------------------------------------------


def test_command_line_over_environment_over_file_over_default(tmp_path):
    path = write(tmp_path, TEXT + "lateness: 1s\npartitions: 2\n")
    environ = {"SAMPLEJOIN_LATENESS": "2s", "SAMPLEJOIN_STREAMS__CLICK__TOPIC": "env", "SAMPLEJOIN_WINDOW": "1h"}
    job = load_job(path, ["streams.click.topic=line", "lateness=3s"], environ)
    assert (job.lateness_ms, job.streams["click"].topic, job.window_ms) == (3000, "line", 3_600_000)
    assert (job.partitions, job.web_port) == (2, 6066)
    assert load_job(path, {"lateness": "3s"}, environ).lateness_ms == 3000


def test_the_lateness_of_a_stream_from_everywhere(tmp_path):
    path = write(tmp_path, TEXT.replace("    time: ts\n", "    time: ts\n    lateness: 1s\n"))
    environ = {"SAMPLEJOIN_STREAMS__CLICK__LATENESS": "2s", "SAMPLEJOIN_STREAMS__IMPRESSION__LATENESS": "500ms"}
    assert [s.lateness_ms for s in load_job(path, environ={}).streams.values()] == [None, 1000]
    assert [s.lateness_ms for s in load_job(path, environ=environ).streams.values()] == [500, 2000]
    assert load_job(path, ["streams.click.lateness=3s"], environ).streams["click"].lateness_ms == 3000
    path.write_text(path.read_text().replace("lateness: 1s", "lateness: 1"))
    (error,) = errors_of(path)
    assert error.startswith("job.yaml:8:"), error
    assert "streams.click.lateness" in error


def test_the_spelling_of_the_file_counts(tmp_path):
    path = write(tmp_path, TEXT.replace("click", "Click"))
    assert load_job(path, environ={"SAMPLEJOIN_STREAMS__CLICK__TOPIC": "t"}).streams["Click"].topic == "t"


@pytest.mark.parametrize(
    ("sets", "get", "expected"),
    [
        ("key=[a, b]", lambda job: job.key, ("a", "b")),
        ("name=123", lambda job: job.name, "123"),
        ("label=123", lambda job: job.label, "123"),
        ("max_wait=null", lambda job: job.max_wait_ms, None),
        ("combine=false", lambda job: job.combine, False),
        ("outputs.samples.topic=s", lambda job: job.samples_topic, "s"),
        ("outputs.samples=s", lambda job: job.samples_topic, "s"),
        (
            "sample.pos.agg=last",
            lambda job: (job.sample["pos"].source, job.sample["pos"].agg),
            ("impression.pos", "last"),
        ),
        ("limits.row=1MiB", lambda job: job.limits.row_bytes, 1 << 20),
        ("label=pos == 1", lambda job: job.label, "pos == 1"),
        ("label=# x", lambda job: job.label, "# x"),
        ("label=[", lambda job: job.label, "["),
    ],
)
def test_values_of_the_command_line(tmp_path, sets, get, expected):
    assert get(load_job(write(tmp_path), [sets], {})) == expected


@pytest.mark.parametrize(
    ("sets", "environ", "expected"),
    [
        (["window=20"], {}, "--set window: window: 20 has no unit"),
        (["windo=20m"], {}, "--set windo: windo: unknown key (hint: did you mean 'window'?)"),
        (["key.0=a"], {}, "--set key.0: key.0: key has no keys below it (hint: set key as a whole)"),
        (["a..b=1"], {}, "names no value"),
        (["window"], {}, "--set: window: has no value; write KEY=VALUE (hint: --set streams.click.topic=clicks)"),
        (["streams.clik.topic=x"], {}, "--set streams.clik.topic: streams.clik.role: is missing (hint: did you mean"),
        ([], {"SAMPLEJOIN___": "1"}, "environment SAMPLEJOIN___: ."),
        ([], {"SAMPLEJOIN_PARTITIONS": "x"}, "environment SAMPLEJOIN_PARTITIONS: partitions: must be a whole number"),
        ([], {"SAMPLEJOIN_WINDO": "5m"}, "environment SAMPLEJOIN_WINDO: windo: unknown key"),
        ([], {"SAMPLEJOIN_NAME__X": "5m"}, "name has no keys below it"),
    ],
)
def test_errors_of_command_line_and_environment(tmp_path, sets, environ, expected):
    found = errors_of(write(tmp_path), sets, environ)
    assert any(expected in error for error in found), found


@pytest.mark.parametrize(
    "name",
    ["JOB", "KAFKA_JARS", "REQUIRE_KAFKA", "MODEL_SEEDS", "TEST_X", "SERVICE_HOST", "PORT_6066_TCP", "LOG_FORMAT"],
)
def test_names_that_are_not_of_the_job(tmp_path, name):
    assert load_job(write(tmp_path), environ={f"SAMPLEJOIN_{name}": "x", "OTHER": "y"}).name == "feed"


def test_what_kubernetes_sets_for_services_is_not_of_the_job(tmp_path):
    environ = {
        "SAMPLEJOIN_PORT": "tcp://10.0.0.1:80",
        "SAMPLEJOIN_WEB_PORT": "tcp://10.0.0.1:6066",
        "SAMPLEJOIN_WEB_PORT_6066_TCP": "tcp://10.0.0.1:6066",
        "SAMPLEJOIN_WEB_PORT_6066_TCP_ADDR": "10.0.0.1",
        "SAMPLEJOIN_WEB_SERVICE_HOST": "10.0.0.1",
        "SAMPLEJOIN_WEB_SERVICE_PORT": "6066",
        "SAMPLEJOIN_WEB_SERVICE_PORT_METRICS": "6066",
    }
    assert load_job(write(tmp_path), environ=environ).web_port == 6066
    assert load_job(write(tmp_path), environ={"SAMPLEJOIN_WEB_PORT": "7000"}).web_port == 7000
    field = {"SAMPLEJOIN_SAMPLE__SERVICE_HOST": "impression.host"}
    assert load_job(write(tmp_path), environ=field).sample["service_host"].source == "impression.host"


def test_the_mapping_given_is_not_changed():
    data = job_data()
    model_of(data, sets=["streams.click.topic=x"], environ={})
    assert data == JOB


# ---- references and secrets -----------------------------------------------------------------------------------------


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
    assert "(hint: write it in the file, or give another by --set or in the environment" in said
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
    assert "job.yaml:13: security.password: holds a secret itself (hint: password: ${env:KAFKA_PASSWORD}" in error
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


# ---- files ----------------------------------------------------------------------------------------------------------


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
