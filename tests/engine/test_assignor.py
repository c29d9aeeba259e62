"""Who gets which partitions: all of them, evenly, where they or their state were; and who is refused."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.engine.assignor import Deal, JoinAssignor, MemberState, deal

LOG = "job-repartition"
TOPICS = {"clicks": range(6), "impressions": range(4), LOG: range(8)}


def word(worker: str = "w", **fields) -> MemberState:
    return MemberState(worker, fields.pop("fingerprint", "f"), fields.pop("topics", tuple(TOPICS)), **fields)


def joins(given: Deal) -> set[int]:
    return {number for topic, number in given.tps if topic == LOG}


def after(deals: dict[str, Deal], generation: int = 1, **state) -> dict[str, MemberState]:
    """What members say the next time."""
    return {
        id_: word(had=d.tps, generation=generation, state=dict.fromkeys(joins(d) | set(d.standby), 100))
        for id_, d in deals.items()
    }


members = st.dictionaries(
    st.sampled_from("abcdefg"),
    st.builds(
        word,
        generation=st.integers(-1, 3),
        had=st.lists(st.tuples(st.sampled_from(list(TOPICS)), st.integers(0, 7)), max_size=12).map(tuple),
        state=st.dictionaries(st.integers(0, 9), st.integers(0, 1000)),
    ),
    min_size=1,
)


@given(members, st.integers(0, 3))
def test_every_partition_has_one_owner_and_the_load_is_even(words, replicas):
    deals = deal(words, TOPICS, LOG, replicas)
    owners = Counter(tp for d in deals.values() for tp in d.tps)
    assert owners == {(topic, number): 1 for topic, numbers in TOPICS.items() for number in numbers}
    for topic in TOPICS:
        shares = [sum(t == topic for t, _ in d.tps) for d in deals.values()]
        assert max(shares) - min(shares) <= 1
    standing_by = Counter(number for d in deals.values() for number in d.standby)
    assert set(standing_by.values()) <= {min(replicas, len(words) - 1)}
    assert all(not joins(d) & set(d.standby) for d in deals.values())


@given(members, st.integers(0, 2))
def test_nothing_moves_without_a_reason(words, replicas):
    """The same members again: everybody keeps what it had, standbys too."""
    deals = deal(words, TOPICS, LOG, replicas)
    again = deal(after(deals), TOPICS, LOG, replicas)
    assert {id_: set(d.tps) for id_, d in again.items()} == {id_: set(d.tps) for id_, d in deals.items()}


@given(members)
def test_a_new_member_takes_only_its_share(words):
    """Partitions move to the newcomer, never between those who stay."""
    deals = deal(words, TOPICS, LOG, 0)
    more = deal(after(deals) | {"new": word()}, TOPICS, LOG, 0)
    for id_, given_ in deals.items():
        assert set(more[id_].tps) <= set(given_.tps)


def test_a_standby_takes_over():
    """The owner is gone: its partitions go to those who have their state, as far as their share reaches."""
    deals = deal({id_: word() for id_ in "abc"}, TOPICS, LOG, 1)
    left = after(deals)
    gone = left.pop("a")
    lost = {number for topic, number in gone.had if topic == LOG}
    again = deal(left, TOPICS, LOG, 1)
    assert lost
    for id_, given_ in again.items():
        stocked = lost & set(deals[id_].standby)
        assert stocked <= joins(given_) or len(joins(given_)) == 4


def test_a_worker_that_comes_back_gets_the_partitions_whose_state_it_has():
    words = {"a": word(state={0: 5, 1: 5, 2: 5, 3: 5}), "b": word(state=dict.fromkeys(range(8), 3))}
    assert joins(deal(words, TOPICS, LOG, 0)["a"]) == {0, 1, 2, 3}


def test_of_two_that_believe_they_have_a_partition_the_latest_owner_keeps_it():
    had = tuple((LOG, number) for number in range(8))
    words = {"a": word(had=had, generation=4), "b": word(had=had[:4], generation=7)}
    assert joins(deal(words, TOPICS, LOG, 0)["b"]) == {0, 1, 2, 3}


def test_topics_go_to_those_who_read_them():
    words = {"a": word(topics=("clicks", LOG)), "b": word()}
    deals = deal(words, TOPICS, LOG, 0)
    assert {number for topic, number in deals["b"].tps if topic == "impressions"} == {0, 1, 2, 3}


def test_another_job_of_the_same_name_is_refused_and_the_running_one_goes_on():
    words = {
        "a": word("host-1", fingerprint="old", generation=3),
        "b": word("host-2", fingerprint="new"),
        "c": word("host-3", fingerprint="new"),
    }
    deals = deal(words, TOPICS, LOG, 1)
    assert len(deals["a"].tps) == 18
    assert not deals["a"].refused
    for id_ in "bc":
        assert not deals[id_].tps
        assert not deals[id_].standby
        for said in ("another job of this name", "host-1", "old", "new", "another name"):
            assert said in deals[id_].refused


def test_of_two_jobs_that_start_together_one_is_refused():
    deals = deal({id_: word(fingerprint=id_) for id_ in "ab"}, TOPICS, LOG, 0)
    assert sorted(bool(d.refused) for d in deals.values()) == [False, True]


@pytest.mark.parametrize(("newest", "writes"), [((1, 1), 1), ((2, 1), 1), ((2, 2), 2), ((3, 2), 2)])
def test_all_write_what_the_oldest_version_can_read(newest, writes):
    deals = deal({str(i): word(formats=(1, n)) for i, n in enumerate(newest)}, TOPICS, LOG, 0)
    assert {d.writes for d in deals.values()} == {writes}


def test_a_version_too_far_ahead_is_refused():
    deals = deal({"a": word(formats=(1, 1)), "b": word(formats=(2, 3))}, TOPICS, LOG, 0)
    assert not deals["a"].refused
    assert "up to 1 only, this version writes 2" in deals["b"].refused


def test_words_and_deals_survive_the_way_through_kafka():
    class Cluster:
        def partitions_for_topic(self, topic):
            return set(TOPICS[topic])

    said = {id_: word(id_, had=(("clicks", 2),), generation=2, state={3: 7}) for id_ in "ab"}
    sides = {id_: JoinAssignor(partial(said.__getitem__, id_), LOG, 1) for id_ in said}
    metadata = {id_: type(m).decode(m.encode()) for id_, s in sides.items() for m in [s.metadata(TOPICS)]}
    for id_, assignment in sides["a"].assign(Cluster(), metadata).items():
        sides[id_].on_assignment(type(assignment).decode(assignment.encode()))
    expected = deal(said, TOPICS, LOG, 1)
    for id_, side in sides.items():
        assert set(side.last.tps) == set(expected[id_].tps)
        assert side.last._replace(tps=()) == expected[id_]._replace(tps=())
