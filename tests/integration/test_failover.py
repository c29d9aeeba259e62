"""Fast failover, never with a state of another job: standbys, static members, versions side by side."""

from __future__ import annotations

import re
import shutil
import sys
import time

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from tests.integration.scenes import edit_job, wait_for_end, watch_until
from tests.integration.support import START_MS, Worker, World, feed, wait_for
from tests.integration.test_zombie import owns
from tests.support.kafka import create_topics

pytestmark = pytest.mark.kafka


def said(worker: Worker, pattern: str) -> list[str]:
    """What the pattern's group was, each time the worker has said it."""
    return re.findall(pattern, worker.log.read_text()) if worker.log.exists() else []


def replayed(worker: Worker) -> list[int]:
    """Rows replayed at each recovery."""
    return [int(rows) for rows in said(worker, r"recovered in .* s: position \d+, (\d+) rows replayed")]


@pytest.mark.rule(16)
def test_a_standby_takes_over_with_its_state(world, start_worker):
    """It has followed the changelog, so it replays next to nothing; and what it then sends is right."""
    edit_job(world, extra="standby_replicas: 1\n")
    workers = [start_worker(world, n) for n in (1, 2)]
    wait_for(lambda: [len(owns(w)) for w in workers] == [2, 2], 60, workers[0].log_tail, workers)
    world.send(feed(seed=81, seconds=400, per_second=100))
    for worker in workers:
        wait_for(lambda: len(said(worker, "standing by for join partition")) >= 2, 60, worker.log_tail, workers)  # noqa: B023
    wait_for(lambda: world.written() > 3000, 60, workers[0].log_tail, workers)
    first, second = workers
    before = len(replayed(second))
    first.kill()
    wait_for(lambda: len(owns(second)) == 4, 60, second.log_tail, [second])
    rows = second.metric("samplejoin_changelog_rows_total")
    taken = replayed(second)[before:]
    assert len(taken) == 2
    assert sum(taken) < rows / 4, f"{taken} rows replayed, of some {rows} that were written"
    assert "rebuilding it" not in second.log.read_text()
    world.end()
    world.wait_until_complete([second])
    world.check()


@pytest.mark.rule(16)
def test_a_static_member_that_restarts_keeps_its_partitions_and_disturbs_nobody(world, start_worker):
    workers = [
        start_worker(world, n, SAMPLEJOIN_INSTANCE_ID=f"w{n}", SAMPLEJOIN_SESSION_TIMEOUT_MS="30000") for n in (1, 2)
    ]
    first, second = workers
    wait_for(lambda: [len(owns(w)) for w in workers] == [2, 2], 60, first.log_tail, workers)
    world.send(feed(seed=82, seconds=300, per_second=100))
    wait_for(lambda: world.written() > 1000, 60, first.log_tail, workers)
    had, rebalances = owns(first), second.metric("samplejoin_rebalances_total")
    first.kill()
    first.start()
    wait_for(lambda: owns(first) == had, 60, first.log_tail, workers)
    first.wait_ready()
    assert second.metric("samplejoin_rebalances_total") == rebalances
    world.end()
    world.wait_until_complete(workers)
    world.check()


@pytest.mark.rule(7, 8)
def test_a_topic_grows_under_static_members_that_have_restarted(world, start_worker):
    """Kafka gives them their old places without an election, so no leader watches topics: a worker notices itself."""
    workers = [start_worker(world, n, SAMPLEJOIN_INSTANCE_ID=f"w{n}") for n in (1, 2)]
    wait_for(lambda: [len(owns(w)) for w in workers] == [2, 2], 60, workers[0].log_tail, workers)
    world.send(feed(seed=86, seconds=60, per_second=100))
    for worker in workers:
        worker.kill()
        worker.start()
        worker.wait_ready()
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    topic = f"{world.name}-click"
    admin.create_partitions([NewPartitions(topic, 6)])[topic].result(30)
    wait_for(lambda: any(said(w, rf"assigned .*({topic}-5)") for w in workers), 60, workers[0].log_tail, workers)
    later = feed(seed=87, seconds=60, per_second=100, start_s=60)
    world.send((s, p + 2 if s == "click" else p, record) for s, p, record in later)
    world.partitions = 6
    world.send(("click", p, {"ts": START_MS + 800_000, "drop": 1}) for p in range(6))
    world.send((s, p, {"ts": START_MS + 800_000, "drop": 1}) for s in ("impression", "like") for p in range(4))
    world.wait_until_complete(workers)
    world.check()


def test_a_refused_static_member_is_let_in_once_its_job_file_is_right(world, tmp_path_factory, start_worker):
    first = start_worker(world, 1)
    first.wait_ready()
    second = Worker(another(world, tmp_path_factory), 2, SAMPLEJOIN_INSTANCE_ID="w2")
    try:
        assert wait_for_end(second.start(), 60) == 1
        assert "another job of this name" in second.log.read_text()
        second.world.job_file.write_text(world.job_file.read_text())
        second.start()
        wait_for(lambda: len(owns(second)) == len(owns(first)) == 2, 60, second.log_tail, [first, second])
    finally:
        second.close()


def another(world: World, tmp_path_factory) -> World:
    """The same names on the same Kafka, with another window."""
    other = World.__new__(World)
    other.__dict__ = world.__dict__ | {"root": tmp_path_factory.mktemp("other")}
    shutil.copy(world.root / "functions.py", other.root)
    other.job_file = other.root / "job.yaml"
    other.job_file.write_text(world.job_file.read_text().replace("window: 20s", "window: 40s"))
    assert other.job_file.read_text() != world.job_file.read_text()
    return other


def some_state(world: World, worker: Worker) -> None:
    """Runs the job until it has sent samples and holds open keys, then stops it."""
    world.send(feed(seed=83, seconds=60, per_second=100))
    wait_for(lambda: world.written() > 500, 60, worker.log_tail, [worker])
    assert worker.stop() == 0


def ends_with(worker: Worker, *words: str) -> None:
    assert wait_for_end(worker.start(), 60) == 1
    log = worker.log.read_text()
    assert all(word in log for word in words), log[-3000:]
    assert "Traceback" not in log


@pytest.mark.rule(16)
@pytest.mark.parametrize("disk", ["kept", "empty"])
def test_a_changelog_made_anew_is_refused(world, start_worker, disk):
    """Going on from an empty changelog would read the log again, and send its samples again."""
    worker = start_worker(world, 1)
    some_state(world, worker)
    admin, topic = AdminClient({"bootstrap.servers": world.kafka.bootstrap}), f"{world.name}-changelog"
    admin.delete_topics([topic], operation_timeout=30)[topic].result()
    watch_until(lambda: topic not in admin.list_topics(timeout=10).topics, 30, lambda: "still there")
    create_topics(world.kafka.bootstrap, {topic: 4}, {"message.timestamp.type": "LogAppendTime"})
    if disk == "empty":
        shutil.rmtree(worker.state)
    ends_with(worker, f"topic {topic} partition", "recreated", "samplejoin reset")


@pytest.mark.rule(16)
def test_a_changelog_cut_off_is_refused_where_no_disk_has_the_rest(world, start_worker):
    worker = start_worker(world, 1)
    some_state(world, worker)
    kept = world.root / "kept"
    shutil.copytree(worker.state, kept)
    shutil.rmtree(worker.state)
    admin, topic = AdminClient({"bootstrap.servers": world.kafka.bootstrap}), f"{world.name}-changelog"
    consumer = Consumer({"bootstrap.servers": world.kafka.bootstrap, "group.id": "ends"})
    last = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] - 2 for p in range(4)]
    consumer.close()
    ends = [TopicPartition(topic, p, offset) for p, offset in enumerate(last)]
    for deleted in admin.delete_records(ends, operation_timeout=30).values():
        deleted.result()
    ends_with(worker, f"topic {topic} partition", "deleted by retention", "state directory")
    shutil.rmtree(worker.state, ignore_errors=True)
    shutil.copytree(kept, worker.state)
    worker.log.unlink()
    worker.start()
    world.end()
    world.wait_until_complete([worker])
    world.check()


@pytest.mark.rule(16)
def test_a_stop_tells_the_group_how_far_the_joins_have_come(world, start_worker):
    """Before the first regular commit too: it is what shows that a changelog was lost, or made again."""
    edit_job(world, ("commit_interval: 200ms", "commit_interval: 5m"))
    worker = start_worker(world, 1)
    worker.wait_ready()
    world.send(feed(seed=88, seconds=60, per_second=100))
    wait_for(lambda: worker.metric("samplejoin_events_total") >= world.events, 60, worker.log_tail, [worker])
    wait_for(lambda: worker.metric("samplejoin_join_lag_records") == 0, 60, worker.log_tail, [worker])
    assert worker.stop() == 0
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(world.name)])[world.name].result()
    log = f"{world.name}-repartition"
    assert [tp.offset > 0 for tp in found.topic_partitions if tp.topic == log] == [True] * 4


class NextVersion(Worker):
    """A worker of a later version."""

    command = (sys.executable, "-m", "tests.integration.next_version", "-A", "samplejoin", "worker", "-l", "info")


class FailingCoordinator(Worker):
    """A worker whose group coordinator answers some requests with an error that the Kafka client does not know."""

    command = (
        sys.executable,
        "-m",
        "tests.integration.failing_coordinator",
        "-A",
        "samplejoin",
        "worker",
        "-l",
        "info",
    )


@pytest.mark.rule(16)
@pytest.mark.parametrize("failing", ["SyncGroupRequest:1:1", "SyncGroupRequest:2:2", "HeartbeatRequest:3:1"])
def test_a_coordinator_that_fails_for_a_moment_ends_no_worker(world, start_worker, failing):
    """A broker that is overloaded says so with an error that means anything: the worker joins the group again."""
    workers = [FailingCoordinator(world, 1, SAMPLEJOIN_TEST_FAILING=failing), Worker(world, 2)]
    try:
        for worker in workers:
            worker.start().wait_ready()
        first = workers[0]
        wait_for(lambda: "the broker that coordinates the group failed" in first.log.read_text(), 60, first.log_tail)
        world.send(feed(seed=89, seconds=60, per_second=100))
        wait_for(lambda: [len(owns(w)) for w in workers] == [2, 2], 60, first.log_tail, workers)
        world.end()
        world.wait_until_complete(workers)
        world.check()
        assert [worker.stop() for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.close()


class FormerLeader(Worker):
    """A worker that some of whose fetches are answered by a broker that leads the partition no longer."""

    command = (sys.executable, "-m", "tests.integration.former_leader", "-A", "samplejoin", "worker", "-l", "info")


@pytest.mark.rule(7, 16)
@pytest.mark.parametrize("which", ["repartition", "click"])
def test_a_former_leader_that_lacks_an_offset_ends_no_worker(world, start_worker, which):
    """It has less of the log than its successor: the position is right, and only the broker is wrong."""
    topic = f"{world.name}-{which}"
    worker = FormerLeader(world, 1, SAMPLEJOIN_TEST_FORMER=f"{topic}:3:4")
    try:
        worker.start().wait_ready()
        for part in range(4):
            world.send(feed(seed=97 + part, seconds=20, per_second=100, start_s=20 * part))
            time.sleep(0.5)  # apart, so that there are several answers
        world.end()
        world.wait_until_complete([worker])
        assert f"{topic} partition" in worker.log.read_text()
        assert "a broker that no longer leads it did not have offset" in worker.log.read_text()
        world.check()
        assert worker.stop() == 0
    finally:
        worker.close()


@pytest.fixture
def versions(world):
    """One worker of this version and one of the next."""
    made = [Worker(world, 1), NextVersion(world, 2)]
    yield made
    for worker in made:
        worker.close()


@pytest.mark.rule(16)
def test_versions_work_side_by_side_and_an_old_one_comes_back_only_while_it_can_read(world, versions):
    """A roll: while an old worker is there, the new ones write what it can read; afterwards they do not."""
    old, new = versions
    old.start().wait_ready()
    new.start()
    wait_for(lambda: [len(owns(w)) for w in versions] == [2, 2], 60, old.log_tail, versions)
    world.send(feed(seed=84, seconds=200, per_second=100))
    wait_for(lambda: world.written() > 1000, 60, old.log_tail, versions)
    assert old.stop() == 0
    before = world.written()
    world.send(feed(seed=85, seconds=100, per_second=100, start_s=500))
    wait_for(lambda: len(owns(new)) == 4 and world.written() > before + 500, 60, new.log_tail, [new])
    ends_with(old, "record format 2, this version reads 1 to 1", "another version of samplejoin")
    world.end()
    world.wait_until_complete([new])
    world.check()


def test_a_version_too_far_ahead_is_refused(world, versions):
    old, new = versions
    old.start().wait_ready()
    new.environment["SAMPLEJOIN_TEST_OLDEST"] = "2"
    ends_with(new, "this version writes 2", "upgrade them first")


def test_two_jobs_of_one_name_started_together(world, tmp_path_factory, start_worker):
    """Neither has state yet that could be compared: the group tells them apart, and one of them ends clearly."""
    other = another(world, tmp_path_factory)
    workers = [start_worker(world, 1), start_worker(other, 2)]
    watch_until(lambda: any(w.running().poll() is not None for w in workers), 60, workers[0].log_tail)
    (ended,) = [w for w in workers if w.running().poll() is not None]
    assert ended.running().returncode == 1
    assert "another job of this name" in ended.log.read_text()
    assert "Traceback" not in ended.log.read_text()


@pytest.mark.rule(7)
def test_offsets_moved_back_by_hand_are_named_loudly_and_change_nothing(world, start_worker):
    edit_job(world, extra="max_in_flight: 50\n")
    worker = start_worker(world, 1)
    some_state(world, worker)
    admin = AdminClient({"bootstrap.servers": world.kafka.bootstrap})
    back = [TopicPartition(f"{world.name}-impression", p, 0) for p in range(4)]
    (altered,) = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(world.name, back)]).values()
    altered.result()
    worker.start()
    wait_for(lambda: worker.metric("samplejoin_rewound_entries_total") > 0, 60, worker.log_tail, [worker])
    log = worker.log.read_text()
    assert f"source {world.name}-impression" in log
    assert "To join them again, run `samplejoin reset`: moving offsets alone does nothing" in log
    world.end()
    world.wait_until_complete([worker])
    world.check()
