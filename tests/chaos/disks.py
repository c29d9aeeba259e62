"""Faults of a worker's disk: files that are damaged or gone, and a disk that is full."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.chaos.brokers import pause
from tests.chaos.stage import Stage

END_S = 20.0


def damage(stage: Stage, r: random.Random) -> None:
    """Killed, and some files of its databases are cut, gone or scribbled on.

    It recovers by itself, or stops with a word about what to delete: `Stage.check` then does as it says.
    """
    worker = stage.some(r)
    stage.kill(worker)
    kinds = ("*.sst", "CURRENT", "MANIFEST-*")
    files = sorted(path for kind in kinds for path in worker.state.rglob(kind))
    for path in r.sample(files, min(len(files), r.randint(1, 3))):
        spoil(path, r.choice(("cut", "gone", "scribbled")), r)
    worker.damaged = True
    stage.restart(worker)
    stage.settle(worker)


def spoil(path: Path, how: str, r: random.Random) -> None:
    """Cuts a file off, deletes it, or writes nonsense into it."""
    size = path.stat().st_size
    if how == "gone":
        path.unlink()
    elif how == "cut":
        os.truncate(path, r.randrange(size) if size else 0)
    else:
        with path.open("r+b") as file:
            file.seek(r.randrange(max(1, size)))
            file.write(r.randbytes(min(64, max(1, size))))


def full_disk(stage: Stage, r: random.Random) -> None:
    """The first worker's disk is filled up: it stops clearly, now or when it starts again, and goes on with room."""
    worker = stage.workers.get(1)
    if worker is None or not worker.alive or not worker.state.is_mount():
        stage.notes.append("no full disk: a small file system cannot be mounted here, or its worker has gone")
        return
    filler = worker.state / "filler"
    _fill(filler)
    worker.full = True
    if not stage.wait_ended(worker, 5.0):  # a memtable may last longer than that
        worker.kill()
        stage.counts["kills"] += 1
        stage.restart(worker)
        stage.wait_ended(worker, END_S)
    stage.must_have_said(worker, "free space")
    filler.unlink()
    worker.full = False
    stage.restart(worker)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        block = bytes(1 << 20)
        try:
            while len(block) > 1:
                if file.write(block) < len(block):
                    block = block[: len(block) // 2]
        except OSError:
            pause(0.1)
