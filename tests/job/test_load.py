"""Job files as text: errors with their line, precedence of file, environment and command line."""

from __future__ import annotations

import pytest

from samplejoin.job.load import load_job, model_of
from tests.job.helpers import JOB, TEXT, errors_of, job_data, write


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
        ("key: [uid, mid]", "key: [uid, mid", "not valid YAML: "),
        ("    role: label", "\trole: label", "job.yaml:5: not valid YAML: found character '\\t'"),
        ("key: [uid, mid]", "key: *none", "job.yaml:8: not valid YAML: found undefined alias"),
        ("key: [uid, mid]", "key: &k [*k]", "job.yaml:8: key.0: an alias contains itself"),
        ("key: [uid, mid]", "1: x\nkey: [uid, mid]", "job.yaml:8: a key must be text (hint: quote it)"),
        ("name: feed", "---\nname: a\n---\nname: feed", "not valid YAML: but found another document"),
        ("key: [uid, mid]", "key: [uid, ${env:X}]", "job.yaml:8: not valid YAML: "),
        ("key: [uid, mid]", "key: [uid, ${env:X}]", "(hint: quote references inside {...} and [...]"),
        ("name: feed", "name: ${env:NAME", "job.yaml:1: name: has a ${ without a closing }"),
        ("name: feed", "name: ${env:NAME}", "job.yaml:1: name: no environment variable NAME"),
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
        (b"name: \x00", "not valid YAML"),
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
        (["a..b=1"], {}, "has an empty name in its path"),
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
