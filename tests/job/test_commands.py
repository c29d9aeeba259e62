"""`samplejoin check`, `schema` and `init`."""

from __future__ import annotations

import json
import os
import socket
import sys

import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka import Producer

from samplejoin.admin import job_check
from samplejoin.commands.check import check
from samplejoin.commands.init import init, project_files
from samplejoin.commands.schema import schema
from samplejoin.job.load import load_job
from tests.job.helpers import TEXT, write

FUNCTIONS = """
def clean(record):
    if record.get("bot"):
        return None
    if record["x"] == "list":
        return [{**record, "mid": 1}, {**record, "mid": 2}]
    if record["x"] == "end":
        raise SystemExit(3)
    if record["x"] == "number":
        return 5
    return {**record, "y": 1 / record["x"]}


def test_a_broker_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    assert CliRunner().invoke(main, ["init", "p", "--into", str(tmp_path)]).exit_code == 0
    done = CliRunner().invoke(main, ["broker", str(tmp_path / "p" / "job.yaml")])
    assert done.exit_code == 1
    assert done.output.startswith("Error: `samplejoin broker` needs confluent-kafka (")
    assert "pip install confluent-kafka" in done.output


def format(sample):
    return {**sample, "share": 1 / sample["pos"]}
"""


@pytest.fixture(autouse=True)
def _own_imports():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name in ("functions", "test_functions"):
            del sys.modules[name]


def run(*arguments):
    result = CliRunner().invoke(check, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_job_that_is_right(tmp_path):
    code, output = run(write(tmp_path), "--no-broker")
    assert code == 0
    assert "job.yaml: ok" in output
    assert "impression: anchor, imp, time ts, clean none" in output


def test_a_job_that_is_wrong(tmp_path):
    code, output = run(write(tmp_path, TEXT.replace("20m", "20")), "--no-broker")
    assert code == 1
    assert "job.yaml:9: window: 20 has no unit (hint: write 20s, 20m or 20ms)" in output
    assert "1 problem" in output


def test_wrong_usage(tmp_path):
    assert run(tmp_path / "none.yaml")[0] == 2
    assert run(write(tmp_path), "--set", "window")[0] == 1
    assert run(write(tmp_path), "-o", "xml")[0] == 2


def test_set(tmp_path):
    assert run(write(tmp_path), "--no-broker", "--set", "window=20")[0] == 1
    code, output = run(write(tmp_path), "--no-broker", "--set", "window=5m", "-o", "json")
    assert (code, json.loads(output)["summary"]["window"]) == (0, "5m")


def test_json(tmp_path):
    code, output = run(write(tmp_path, TEXT.replace("20m", "20")), "--no-broker", "-o", "json")
    report = json.loads(output)
    assert (code, report["ok"], report["problems"][0]["line"], report["problems"][0]["path"]) == (1, False, 9, "window")


def records(tmp_path, *lines):
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def impression(**values):
    return {"stream": "impression", "record": {"uid": "u", "mid": 1, "ts": 1000, "pos": 2, "x": 1, **values}}


@pytest.fixture
def job(tmp_path):
    text = TEXT.replace("topic: imp,", "topic: imp, clean: 'functions:clean',") + "format: functions:format\n"
    return write(tmp_path, text, FUNCTIONS)


def test_records(tmp_path, job):
    click = {"topic": "clk", "record": {"uid": "u", "mid": 1, "ts": 2000}}
    code, output = run(job, "--no-broker", "--records", records(tmp_path, impression(), "", click, impression(bot=1)))
    assert code == 0, output
    assert 'record 1 impression: 1970-01-01T00:00:01.000Z {"uid": "u"' in output
    assert "record 3 click: 1970-01-01T00:00:02.000Z" in output
    assert "record 4 impression: filtered" in output
    assert 'sample: {"uid":"u","mid":1,"pos":2,"clicks":1,"label":1,"share":0.5}' in output


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (impression(x=0), "record 1 impression: clean functions:clean: ZeroDivisionError: division by zero"),
        (impression(x="end"), "record 1 impression: clean functions:clean: SystemExit: 3"),
        (impression(x="number"), "must return a dict, a list of dicts or None, not int"),
        (impression(ts="soon"), "time ts: ValueError: 'soon' is not a time in ms"),
        (
            impression(ts=10**14),
            "future ts: FutureTimeError: event time 5138-11-16T09:46:40.000Z is more than max_skew ahead of",
        ),
        (impression(uid="0"), "key: no row of impression has a key: uid='0', mid=1; the row has uid, mid, ts"),
        (impression(uid=[1]), "key field uid must be text"),
        ({"stream": "impression", "record": {"uid": 1}}, "the record has no field ts; it has uid"),
        ({"stream": "impression", "record": [1]}, "decode impression: ValueError: the record is a JSON list"),
        ({"stream": "impression", "record": ""}, "decode impression: ValueError: empty record"),
        ({"stream": "impression", "record": "{"}, "decode impression: ValueError: not JSON: unexpected end"),
        (
            impression() | {"timestamp": "1"},
            "timestamp must be the Kafka record's, whole ms since 1970, not '1'",
        ),
        ({"stream": "click", "topic": "imp", "record": {}}, "stream click does not read topic 'imp'"),
        ({"stream": "clik", "record": {}}, "no stream reads 'clik'"),
        ({"topic": "x", "record": {}}, "no stream reads 'x'"),
        ({"stream": "click"}, 'expected {"stream": NAME'),
        ([1], 'expected {"stream": NAME'),
        ("{", "records.jsonl:1: not JSON: unexpected end of data"),
        ("", "records.jsonl: holds no records (hint: lines like"),
        (impression(pos=0), "format: fails for"),
    ],
)
def test_records_that_are_wrong(tmp_path, job, line, message):
    code, output = run(job, "--no-broker", "--records", records(tmp_path, line))
    assert code == 1
    assert message in output


def test_several_rows_of_a_record(tmp_path, job):
    report = json.loads(run(job, "--no-broker", "-o", "json", "--records", records(tmp_path, impression(x="list")))[1])
    assert [row["mid"] for row in report["records"][0]["rows"]] == [1, 2]
    assert len(report["samples"]) == 2


def test_csv_and_raw_records(tmp_path):
    text = TEXT.replace("topic: imp, time: ts", "topic: imp, time: ts, decode: csv, columns: [uid, mid, ts, pos]")
    path = write(tmp_path, text.replace("    time: ts", "    time: '@timestamp'\n    decode: raw"))
    lines = (
        {"stream": "impression", "record": {"uid": "u", "mid": "1", "ts": 5, "pos": "a,b"}},
        {"stream": "impression", "record": "v,2,6,x"},
        {"stream": "click", "record": "x", "key": "k", "timestamp": 7, "headers": {"a": "b"}},
    )
    report = json.loads(run(path, "--no-broker", "-o", "json", "--records", records(tmp_path, *lines))[1])
    first, second, third = report["records"]
    assert (first["rows"][0]["pos"], second["rows"][0]["uid"]) == ("a,b", "v")
    assert "no key, uid=None" in third["dropped"][0]


# ---- brokers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_no_broker(tmp_path, closed_port):
    path = write(tmp_path, TEXT + f"brokers: 127.0.0.1:{closed_port}\n")
    code, output = run(path)
    assert code == 0
    assert (
        f"note: topics are not checked: no broker answers at 127.0.0.1:{closed_port}: broker 127.0.0.1:"
        f"{closed_port} cannot be reached" in output
    )
    assert "(connection refused): is it running" in output
    assert "AddressFamily" not in output
    code, output = run(path, "--broker")
    assert code == 1
    assert f"job.yaml:13: brokers: no broker answers at 127.0.0.1:{closed_port}" in output


def test_a_broker(tmp_path):
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    for topic in ("imp", "clk"):
        producer.produce(topic, b"{}")
    producer.flush(10)
    code, output = run(write(tmp_path, TEXT + f"brokers: {broker.host}:{broker.port}\n"), "--broker")
    assert code == 0, output


def test_what_references_stand_for_is_not_printed(tmp_path, closed_port):
    (tmp_path / "name").write_text("swordfish")
    (tmp_path / "brokers").write_text(f"localhost:{closed_port}")
    text = TEXT.replace("topic: clk", "topic: ${file:name}").replace("name: feed", "name: ${file:name}")
    path = write(tmp_path, text + "brokers: ${file:brokers}\n")
    for options in ([], ["--broker"], ["-o", "json"]):
        _, output = run(path, *options)
        assert "swordfish" not in output.replace(str(tmp_path), "")
        assert str(closed_port) not in output
        assert "${file:name}" in output or "${file:brokers}" in output


def test_tls_files_are_looked_at_without_a_broker(tmp_path):
    code, output = run(write(tmp_path, TEXT + "security: {protocol: SSL, ca_file: none.pem}\n"), "--no-broker")
    assert code == 1
    assert "job.yaml:13: security.ca_file: cannot be used: No such file" in output


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ca.pem").write_text("")
    code, output = run(write(tmp_path), "--no-broker", "--records", tmp_path / "pipe")
    assert code == 1
    assert f"{tmp_path / 'pipe'}: is not a regular file" in output
    for line in ("{protocol: SSL, ca_file: pipe}", "{protocol: SSL, cert_file: ca.pem, key_file: pipe}"):
        code, output = run(write(tmp_path, f"{TEXT}security: {line}\n"), "--no-broker")
        assert code == 1
        assert "_file: is not a regular file" in output


def test_topics(tmp_path, monkeypatch):
    async def ask(connection):
        return {"imp", "clk-1", "clk-2"}

    monkeypatch.setattr(job_check, "_ask", ask)
    code, output = run(write(tmp_path))
    assert code == 1
    assert "job.yaml:4: streams.click: topic clk does not exist" in output
    code, output = run(write(tmp_path, TEXT.replace("topic: clk", "pattern: clk-.*")))
    assert code == 0
    assert "click: label, clk-1, clk-2," in output
    code, output = run(write(tmp_path, TEXT.replace("topic: clk", "pattern: none.*")))
    assert "no topic matches 'none.*'" in output


def test_a_pattern_without_a_broker(tmp_path):
    assert run(write(tmp_path, TEXT.replace("topic: clk", "pattern: clk-.*")), "--no-broker")[0] == 0


# ---- schema and init ------------------------------------------------------------------------------------------------


def test_schema():
    result = CliRunner().invoke(schema)
    assert (result.exit_code, json.loads(result.output)["title"]) == (0, "samplejoin job")


@pytest.mark.parametrize("name", ["my-feed", "123", "null"])
def test_init(tmp_path, name):
    result = CliRunner().invoke(init, [name, "--into", str(tmp_path)])
    assert result.exit_code == 0, result.output
    folder = tmp_path / name
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "compose.yaml",
        "functions.py",
        "job.schema.json",
        "job.yaml",
        "records.jsonl",
        "test_functions.py",
    }
    assert load_job(folder / "job.yaml", environ={}).name == name
    assert "@NAME@" not in "".join(path.read_text() for path in folder.iterdir())
    code, output = run(folder / "job.yaml", "--no-broker", "--records", folder / "records.jsonl")
    assert code == 0, output
    topics = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["topics"]
    assert "touch /tmp/made" in topics["command"][0].rpartition("done;")[2], "after the topics"
    assert topics["healthcheck"]["test"] == "test -f /tmp/made", "which is what `up --wait` waits for"
    ports = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["kafka"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for python in folder.glob("*.py"):
        compile(python.read_text(), str(python), "exec")


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "feed").mkdir()
    result = CliRunner().invoke(init, ["feed", "--into", str(tmp_path)])
    assert result.exit_code == 1
    assert "exists already; nothing was written" in result.output
    assert not list((tmp_path / "feed").iterdir())


@pytest.mark.parametrize("name", ["a/b", "..", "", "a b", "-x", "_x", "feed-g2", "x" * 101])
def test_init_with_a_bad_name(tmp_path, name):
    assert CliRunner().invoke(init, ["--into", str(tmp_path), "--", name]).exit_code == 2


def test_the_templates_schema_comment_names_a_file_that_is_made():
    made = project_files("x")
    assert made["job.yaml"].startswith("# yaml-language-server: $schema=./job.schema.json\n")
    assert "job.schema.json" in made
