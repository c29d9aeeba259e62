"""Lists the access rights that workers and commands of a job need, with the names of its topics and groups."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from samplejoin.job.model import JobModel
from samplejoin.worker.engine_config import topics_of


class Right(NamedTuple):
    """Operations on resources of one kind: `topic`, `group`, `transactional-id` or `cluster`."""

    operations: tuple[str, ...]
    kind: str
    names: tuple[str, ...]
    prefixed: bool = False


def rights_of(model: JobModel, inputs: Sequence[str]) -> list[Right]:
    """Returns the rights that a worker's principal needs; `inputs` are the input topics."""
    topics = topics_of(model)
    rights = [
        Right(("Read",), "topic", tuple(inputs)),
        Right(("Read", "Write", "Create", "Delete", "DescribeConfigs"), "topic", topics.internal),
        Right(("Read", "Write", "Create", "Delete"), "topic", (topics.skips,)),  # a worker itself needs only Read
        Right(("Write", "Create"), "topic", topics.outputs),
        Right(("Read",), "group", (model.prefix,)),
    ]
    if model.guarantee == "exactly_once":
        rights.append(Right(("Write",), "transactional-id", (f"{model.prefix}-join-",), prefixed=True))
    if model.replication_factor is None:
        rights.append(Right(("DescribeConfigs",), "cluster", ()))
    return rights


def further_rights(model: JobModel, inputs: Sequence[str]) -> dict[str, list[Right]]:
    """Returns command -> rights that it needs besides a worker's. `check`, `plan` and `skip` need no others."""
    topics = topics_of(model)
    needed = {
        "reset": [Right(("Delete",), "group", (model.prefix,))],
        "verify": [
            Right(("Read",), "topic", (*inputs, *topics.outputs, *topics.internal, topics.skips)),
            Right(("Describe",), "group", (model.prefix,)),
        ],
    }
    if model.generation > 1:
        before = model.model_copy(update={"generation": model.generation - 1})
        old = topics_of(before)
        needed["migrate"] = [
            Right(("Read", "DescribeConfigs"), "topic", old.internal),
            Right(("Read", "Delete"), "group", (before.prefix,)),
            Right(("Write",), "transactional-id", (f"{before.prefix}-join-",), prefixed=True),
        ]
    return needed


def commands_of(model: JobModel, inputs: Sequence[str], principal: str) -> list[str]:
    """Returns the rights as calls of kafka-acls.sh, with comments that say which command needs them."""
    server = ",".join(model.brokers)
    head = ["kafka-acls.sh", "--bootstrap-server", server, "--add", "--allow-principal", principal]

    def calls(rights: Iterable[Right]) -> list[str]:
        return [shlex.join([*head, *_options(right)]) for right in rights]

    lines = ["# worker, skip, check", *calls(rights_of(model, inputs))]
    for command, rights in further_rights(model, inputs).items():
        what = (
            "verify, which needs no other right" if command == "verify" else f"{command}, on top of a worker's rights"
        )
        lines += [f"# {what}", *calls(rights)]
    return lines


def _options(right: Right) -> Iterable[str]:
    for operation in right.operations:
        yield from ("--operation", operation)
    for name in right.names:
        yield from (f"--{right.kind}", name)
    if right.kind == "cluster":
        yield "--cluster"
    if right.prefixed:
        yield from ("--resource-pattern-type", "prefixed")
