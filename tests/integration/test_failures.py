"""Conditions that end a worker, with a message: what is wrong, where, what to do, and no traceback."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from samplejoin.engine.topics import INTERNAL
from samplejoin.engine.wire import pack_state
from samplejoin.stores.rocks import RocksStore
from samplejoin.tables.durable_state import META
from tests.integration.scenes import edit_job, record, wait_for_end, watch_until
from tests.integration.support import Worker, World, feed, wait_for
from tests.support.kafka import create_topics, produce

pytestmark = pytest.mark.kafka


def ends_clearly(worker: Worker, *words: str, status: int = 1) -> str:
    """The worker ends by itself, with these words in its log and no traceback; the log."""
    assert wait_for_end(worker) == status, worker.log_tail()
    log = worker.log.read_text()
    missing = [word for word in words if word not in log]
    assert not missing, f"{missing} not in:\n{log}"
    assert "Traceback" not in log, log
    return log


def some_run(world: World, worker: Worker) -> None:
    """Runs the job until it has closed some windows and still holds open keys, then stops it."""
    world.send(feed(seed=41, seconds=60, per_second=20))
    wait_for(lambda: world.written() > 0, 60, worker.log_tail, [worker])
    assert worker.stop() == 0


def settings_of(world: World, topic: str) -> dict[str, str]:
    """A topic's configuration."""
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = admin.describe_configs([resource])[resource].result(30)
    return {name: entry.value for name, entry in found.items()}


# ---- topics --------------------------------------------------------------------------------------------------------


def test_missing_input_topics_are_named(world, start_worker):
    edit_job(world, (f"{world.name}-click", f"{world.name}-clack"), (f"{world.name}-like", f"{world.name}-luke"))
    log = ends_clearly(start_worker(world, 1), f"{world.name}-clack, {world.name}-luke", "do not exist", "create them")
    assert world.kafka.bootstrap in log


@pytest.mark.parametrize("topic", ["repartition", "changelog"])
def test_wrong_partition_counts_are_named(world, start_worker, topic):
    create_topics(world.kafka.bootstrap, {f"{world.name}-{topic}": 3})
    ends_clearly(
        start_worker(world, 1), f"topic {world.name}-{topic} has 3 partitions", "partitions: 4", "set it back to 3"
    )


def make_again(world: World, topic: str) -> None:
    """Deletes a topic, and makes it again as soon as the broker lets it."""
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    count = len(admin.list_topics(timeout=30).topics[topic].partitions)
    config = INTERNAL if topic == f"{world.name}-changelog" else None
    admin.delete_topics([topic], operation_timeout=30)[topic].result(30)

    def made() -> bool:
        try:
            create_topics(world.kafka.bootstrap, {topic: count}, config)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False
        return True

    wait_for(made, 30, lambda: topic, [])


@pytest.mark.rule(16)
@pytest.mark.parametrize("which", ["click", "changelog", "samples"])
def test_a_topic_that_is_made_again_under_a_worker_ends_it(world, start_worker, which):
    """Its offsets mean nothing there, and the client goes on at them: rows would be passed over, states be lost."""
    worker = start_worker(world, 1)
    world.send(feed(seed=41, seconds=60, per_second=20))
    wait_for(lambda: world.written() > 0, 60, worker.log_tail, [worker])
    wait_for(lambda: "lag 0," in worker.log.read_text(), 60, worker.log_tail, [worker])
    make_again(world, f"{world.name}-{which}")
    rows = [(number % 4, b"{}", None, None) for number in range(4000)]
    if which == "click":  # more than the old one had
        produce(world.kafka.bootstrap, f"{world.name}-click", rows)
    else:
        world.send(feed(seed=42, seconds=30, per_second=20, start_s=60))
    log = ends_clearly(worker, "samplejoin reset")
    made_again = f"topics {world.name}-{which} were deleted and made again while the job ran" in log
    others = {"changelog": "its end has gone back from ", "click": ": outside its log. "}  # if that is seen first
    assert made_again or others.get(which, "no other") in log, log
    # nor does one that is started again go on, by Kubernetes for instance, on another disk
    if which == "click":
        ends_clearly(start_worker(world, 2), f"topic {world.name}-click: it", "samplejoin reset")
    elif which == "changelog":
        ends_clearly(start_worker(world, 2), "holds the state up to position", "samplejoin reset")


def test_internal_topics_have_the_settings_that_the_protocol_needs(world, start_worker):
    worker = start_worker(world, 1)
    worker.wait_ready()
    for topic in ("repartition", "changelog"):
        settings = settings_of(world, f"{world.name}-{topic}")
        assert settings["message.timestamp.type"] == "LogAppendTime"
        assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
        assert settings["cleanup.policy"] == "delete"
        assert settings["unclean.leader.election.enable"] == "false"
        assert int(settings["max.message.bytes"]) == 8 << 20
    assert settings_of(world, f"{world.name}-progress")["message.timestamp.type"] == "LogAppendTime"
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    counts = {name: len(t.partitions) for name, t in admin.list_topics(timeout=10).topics.items()}
    made = ("repartition", "changelog", "progress", "samples", "dead-letter", "late", "orphan")
    assert [counts[f"{world.name}-{each}"] for each in made] == [4, 4, 1, 4, 4, 4, 4]


@pytest.mark.rule(7)
def test_a_committed_offset_off_the_log_is_named(world, start_worker):
    """Records deleted before they were read: a gap that nobody may step over in silence."""
    worker = start_worker(world, 1)
    some_run(world, worker)
    world.send(feed(seed=42, seconds=30, per_second=40, start_s=60))
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    topic = f"{world.name}-impression"
    end = TopicPartition(topic, 1, -1)  # all there is
    for deleted in admin.delete_records([end]).values():
        deleted.result(30)
    worker.start()
    ends_clearly(worker, f"topic {topic} partition 1", "committed offset", "outside its log", "under a new name")


# ---- state ---------------------------------------------------------------------------------------------------------


def test_a_locked_state_directory_is_named(world, start_worker):
    first = start_worker(world, 1)
    first.wait_ready()
    second = start_worker(world, 2, SAMPLEJOIN_STATE_DIR=str(first.state))
    ends_clearly(second, str(first.state), "another worker uses it", "state_dir of its own")
    assert first.get("/readyz")[0] == 200
    assert first.stop() == 0


def test_state_of_an_edited_job_is_refused(world, start_worker):
    worker = start_worker(world, 1)
    some_run(world, worker)
    edit_job(world, ("window: 20s", "window: 30s"))
    worker.start()
    ends_clearly(worker, "window was edited since", "Set that back")
    shutil.rmtree(worker.state)  # the changelog knows it as well
    worker.start()
    ends_clearly(worker, "window was edited since", "Set that back")


@pytest.mark.parametrize(
    ("version", "job", "words"),
    [
        (99, None, ("state format 99", "delete the directory")),
        (1, "another-job", ("job 'another-job'", "state_dir of its own")),
    ],
)
def test_state_of_another_version_or_job_is_refused(world, start_worker, version, job, words):
    worker = Worker(world, 1)
    path = worker.state / world.name / "2"
    path.parent.mkdir(parents=True)
    store = RocksStore(path)
    store.write([(META, pack_state([version, job or world.name, "f", 0, 0, pack_state(None)]))], [])
    store.close()
    ends_clearly(start_worker(world, 1), str(worker.state), "join partition 2", *words)


def test_an_unwritable_state_directory_is_named(world, start_worker):
    """A file stands where the directory should be: that stops root as well."""
    worker = Worker(world, 1)
    worker.state.write_text("not a directory")
    ends_clearly(start_worker(world, 1), f"state directory {worker.state}", "cannot be written", "make it writable")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.rule(16)
def test_a_full_disk_ends_the_worker_and_loses_nothing(world, start_worker, small_disk):
    """Open state larger than the disk. Once there is room, all samples are as the oracle has them."""
    edit_job(world, ("partitions: 4", "partitions: 1"))
    r = random.Random(43)
    large = [("impression", n % 4, record(f"u{n}", n / 200, pos=r.randbytes(10_000).hex())) for n in range(1200)]
    world.send(large)
    worker = start_worker(world, 1, SAMPLEJOIN_STATE_DIR=str(small_disk / "state"))
    wait_for(lambda: worker.metric("samplejoin_changelog_rows_total") >= len(large), 30, worker.log_tail, [worker])
    world.send([("impression", 0, record("one more", 6, pos=1))])  # the first commit after the memtable did not fit
    ends_clearly(worker, str(small_disk / "state"), "free space")
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    worker.start()
    world.end()
    world.wait_until_complete([worker])
    world.check()


# ---- brokers ---------------------------------------------------------------------------------------------------------


def test_topics_wait_for_the_brokers_that_their_replicas_need(world, start_worker):
    """A broker that is away for a moment must not end a worker's first start."""
    worker = start_worker(world, 1, SAMPLEJOIN_REPLICATION_FACTOR="3")
    said = "is to have 3 replicas, and there are fewer brokers: start the others, or set replication_factor"
    watch_until(lambda: said in worker.log_tail(100), 60, worker.log_tail)
    assert worker.stop(10) == 0


def test_a_worker_waits_for_a_broker_that_is_not_there_yet(own_kafka, tmp_path, start_worker):
    """It says so, can be stopped, and goes on by itself when the broker comes."""
    world = World(own_kafka, "early", tmp_path)
    world.send(feed(seed=45, seconds=30, per_second=20))
    world.end()
    own_kafka.stop()
    worker = start_worker(world, 1)
    watch_until(lambda: worker.log_tail(1000).count("no answer from the brokers") >= 3, 60, worker.log_tail)
    log = worker.log.read_text()
    assert own_kafka.bootstrap in log
    assert "trying again in 0.5 s" in log
    assert "trying again in 2.0 s" in log
    status, body = worker.get("/readyz")
    assert status == 503, body
    assert worker.get("/livez")[0] == 200
    other = start_worker(world, 2)
    watch_until(lambda: "no answer from the brokers" in other.log_tail(), 60, other.log_tail)
    assert other.stop(10) == 0
    own_kafka.start()
    world.wait_until_complete([worker])
    world.check()
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.read_text() + other.log.read_text()
