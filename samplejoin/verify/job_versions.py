"""Whether the samples were made by the job as its file is now (rule 6 speaks of one job, not of two)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from samplejoin.core.fingerprint import differences, short
from samplejoin.verify.kafka import VerifyError

TO_DO = "Verify with the job file that the workers run, or give the values it had: --set KEY=VALUE"


def refuse_edited(now: str, commits: Iterable[str]) -> None:
    """Raises VerifyError if a join partition's last commit was made by another version of the job. Both are whole
    fingerprints, which tell what was edited."""
    for then in commits:
        keys = differences(then, now)
        if keys != []:
            edited = "streams, key, window, fields, label or partitions" if keys is None else ", ".join(keys)
            raise VerifyError(
                f"the samples were made by another version of the job; edited since: {edited}. Nothing can be compared "
                f"with the job file as it is now. {TO_DO}"
            )


def refuse_foreign(now: str, samples: Mapping[str, int]) -> None:
    """Raises VerifyError if there are samples, and none was made by this version: where no commit tells, their headers
    do. `samples`: how many by short fingerprint."""
    if samples and short(now) not in samples:
        made = ", ".join(f"{name} ({count:,})" for name, count in sorted(samples.items()))
        raise VerifyError(
            f"the samples were made by another version of the job: their fingerprints are {made}, the job file's is "
            f"{short(now)}. Its streams, key, window, fields, label or partitions were edited since. {TO_DO}"
        )
