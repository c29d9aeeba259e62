"""Assigns partitions: to their last owner, a worker with their state, or the least loaded one (KIP-54, KIP-441).

Every worker reports the partitions that it had and the offset that the state on its disk has reached. The group's
leader assigns partitions and standbys. It refuses workers that run another job under the same name, and versions that
cannot read what the others write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from samplejoin.core.fingerprint import short
from samplejoin.engine.record_format import NEWEST, OLDEST


class MemberState(NamedTuple):
    """What a member reports of itself when it joins the group."""

    #: host and process, for messages
    worker: str
    fingerprint: str
    topics: tuple[str, ...] = ()
    #: the oldest and the newest record format that it can read
    formats: tuple[int, int] = (OLDEST, NEWEST)
    #: group generation of its last assignment, and the partitions it had there: (topic, partition)
    generation: int = -1
    had: tuple[tuple[str, int], ...] = ()
    #: join partition -> next changelog offset of the state on its disk
    state: Mapping[int, int] = {}
    #: how often it has asked for another assignment: brokers start a rebalance only if a member's metadata differs
    rejoins: int = 0


class Deal(NamedTuple):
    """The assignment that the leader gives one member."""

    tps: tuple[tuple[str, int], ...] = ()
    #: join partitions that it is a standby for
    standby: tuple[int, ...] = ()
    #: the format in which all members write
    writes: int = OLDEST
    #: why the member is refused; empty if it is not
    refused: str = ""
    #: the fingerprint that the member reported
    job: str = ""


class JoinAssignor:
    """The assignor of one worker, called by aiokafka. `say` returns its report; `last` is its last assignment."""

    name = "samplejoin"

    def __init__(self, say: Callable[[], MemberState], repartition: str, standby_replicas: int) -> None:
        self._say, self._repartition, self._standby_replicas = say, repartition, standby_replicas
        self.last = Deal()
        self.rejoins = 0

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Returns this worker's subscription with its `MemberState` as user data."""
        names = sorted(topics)
        word = self._say()._replace(rejoins=self.rejoins)._asdict()
        word["state"] = list(word["state"].items())
        return ConsumerProtocolMemberMetadata(0, names, orjson.dumps(word))

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assigns partitions to all members; called in the group's leader."""
        words = {id_: _word(member) for id_, member in members.items()}
        topics = {topic for word in words.values() for topic in word.topics}
        partitions = {topic: sorted(cluster.partitions_for_topic(topic) or ()) for topic in topics}
        deals = deal(words, partitions, self._repartition, self._standby_replicas)
        return {id_: _assignment(given) for id_, given in deals.items()}

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Keeps the assignment that the leader has given this worker."""
        said = orjson.loads(assignment.user_data) if assignment.user_data else {}
        self.last = Deal(
            tuple((tp.topic, tp.partition) for tp in assignment.partitions()),
            tuple(said.get("standby", ())),
            said.get("writes", OLDEST),
            said.get("refused", ""),
            said.get("job", ""),
        )


def deal(
    words: Mapping[str, MemberState], partitions: Mapping[str, Sequence[int]], repartition: str, standby_replicas: int
) -> dict[str, Deal]:
    """Assigns every partition to one member that subscribes to its topic, each topic as evenly as possible; pure.

    Each join partition gets `standby_replicas` standbys, or fewer if there are not enough members. Returns member id
    -> `Deal`. `words` maps member ids to their reports, `partitions` maps topics to partition numbers.
    """
    refused = _refusals(words)
    able = {id_: word for id_, word in words.items() if id_ not in refused}
    tps: dict[str, list[tuple[str, int]]] = {id_: [] for id_ in able}
    owner: dict[int, str] = {}
    for topic, numbers in sorted(partitions.items()):
        ids = sorted(id_ for id_, word in able.items() if topic in word.topics)
        wish = _by_state if topic == repartition else _by_past
        for number, id_ in _spread(topic, numbers, ids, able, tps, wish).items():
            tps[id_].append((topic, number))
            if topic == repartition:
                owner[number] = id_
    standbys = _standbys(owner, able, standby_replicas)
    writes = min((word.formats[1] for word in able.values()), default=OLDEST)
    deals = {
        id_: Deal(tuple(tps[id_]), tuple(sorted(standbys[id_])), writes, job=word.fingerprint)
        for id_, word in able.items()
    }
    return deals | {id_: Deal(refused=reason, job=words[id_].fingerprint) for id_, reason in refused.items()}


def same_job(one: str, other: str) -> bool:
    """Whether two fingerprints are of one job; the parts that they list can differ between versions of samplejoin."""
    return short(one) == short(other)


Wish = Callable[[str, int, Collection[str], Mapping[str, MemberState]], list[str]]


def _spread(
    topic: str,
    numbers: Sequence[int],
    ids: Sequence[str],
    words: Mapping[str, MemberState],
    loads: Mapping[str, Sequence[Any]],
    wish: Wish,
) -> dict[int, str]:
    """Returns partition -> member: first by `wish` up to an even share, the rest to the member with the fewest."""
    if not ids:
        return {}
    share, more = divmod(len(numbers), len(ids))
    given: dict[str, int] = dict.fromkeys(ids, 0)
    dealt: dict[int, str] = {}

    def give(number: int, id_: str) -> bool:
        nonlocal more
        if given[id_] > share or (given[id_] == share and not more):
            return False
        more -= given[id_] == share
        given[id_] += 1
        dealt[number] = id_
        return True

    for number in numbers:
        any(give(number, id_) for id_ in wish(topic, number, ids, words))
    for number in numbers:
        if number not in dealt:
            any(give(number, id_) for id_ in sorted(ids, key=lambda i: (given[i], len(loads[i]) + given[i], i)))
    return dealt


def _by_past(topic: str, number: int, ids: Collection[str], words: Mapping[str, MemberState]) -> list[str]:
    """Members that had the partition, the latest first: a paused member may still report one that it has lost."""
    had = [id_ for id_ in ids if (topic, number) in words[id_].had]
    return sorted(had, key=lambda id_: (-words[id_].generation, id_))


def _by_state(topic: str, number: int, ids: Collection[str], words: Mapping[str, MemberState]) -> list[str]:
    """Members that have the partition's state: former owners first, then by how far their state has come."""
    past = _by_past(topic, number, ids, words)
    stocked = [id_ for id_ in ids if number in words[id_].state and id_ not in past]
    return past + sorted(stocked, key=lambda id_: (-words[id_].state[number], id_))


def _standbys(owner: Mapping[int, str], words: Mapping[str, MemberState], replicas: int) -> dict[str, set[int]]:
    """Returns member -> join partitions to stand by for, up to an even share; those whose state it has come first."""
    standbys: dict[str, set[int]] = {id_: set() for id_ in words}
    replicas = min(replicas, len(words) - 1)
    share = -(-len(owner) * replicas // len(words)) if words else 0
    for _ in range(replicas):
        for number, own in sorted(owner.items()):
            free = [id_ for id_ in words if id_ != own and number not in standbys[id_]]

            def cost(id_: str, number: int = number) -> tuple[bool, int, int, str]:
                load = len(standbys[id_])
                return load >= share, -words[id_].state.get(number, -1), load, id_

            standbys[min(free, key=cost)].add(number)
    return standbys


def _refusals(words: Mapping[str, MemberState]) -> dict[str, str]:
    """Returns the refused members with the reason. Of several jobs the one that already has an assignment goes on."""
    prints = [short(word.fingerprint) for word in words.values() if word.generation >= 0]
    prints = prints or [short(word.fingerprint) for word in words.values()]
    chosen = max(sorted(set(prints)), key=prints.count)
    oldest = min((w.formats[1] for w in words.values()), default=OLDEST)
    refused = {}
    for id_, word in words.items():
        if not same_job(word.fingerprint, chosen):
            others = ", ".join(sorted(w.worker for w in words.values() if same_job(w.fingerprint, chosen)))
            refused[id_] = (
                f"another job of this name runs on these brokers (workers {others}; fingerprint {chosen}, here "
                f"{short(word.fingerprint)}). Give one of the two another name, or start all workers with one "
                "job file"
            )
        elif word.formats[0] > oldest:
            refused[id_] = (
                f"workers in this group read record formats up to {oldest} only, this version writes {word.formats[0]} "
                "and later: upgrade them first, one version at a time"
            )
    return refused


def _word(member: ConsumerProtocolMemberMetadata) -> MemberState:
    said = orjson.loads(member.user_data) if member.user_data else {}
    return MemberState(
        said.get("worker", "?"),
        said.get("fingerprint", ""),
        tuple(member.subscription),
        tuple(said.get("formats", (OLDEST, NEWEST))),
        said.get("generation", -1),
        tuple((topic, number) for topic, number in said.get("had", ())),
        dict(said.get("state", ())),
    )


def _assignment(given: Deal) -> ConsumerProtocolMemberAssignment:
    topics: dict[str, list[int]] = {}
    for topic, number in given.tps:
        topics.setdefault(topic, []).append(number)
    said = orjson.dumps({"standby": given.standby, "writes": given.writes, "refused": given.refused, "job": given.job})
    return ConsumerProtocolMemberAssignment(0, sorted(topics.items()), said)
