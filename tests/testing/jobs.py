"""Small jobs for tests of the test kit."""

from __future__ import annotations

from typing import Any

from samplejoin.testing import JobTest
from tests.job.helpers import job_data

T = 1_735_689_600_000
MINUTE = 60_000


def kit_of(*, kit: dict[str, Any] | None = None, **changes: Any) -> JobTest:
    return JobTest(job_data(**changes), **(kit or {}))


def shown(job: JobTest, uid: Any = "u", ts: int = T, **values: Any) -> None:
    job.send("impression", {"uid": uid, "mid": 1, "ts": ts, "pos": 3, **values})


def clicked(job: JobTest, uid: Any = "u", ts: int = T + 5000, **values: Any) -> None:
    job.send("click", {"uid": uid, "mid": 1, "ts": ts, **values})


JOINED = {"uid": "u", "mid": 1, "pos": 3, "clicks": 1, "label": 1}
