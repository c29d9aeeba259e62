"""Checks that the job made its samples as its file is now (rule 6 is about one version of a job)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from samplejoin.core.fingerprint import differences, short
from samplejoin.verify.kafka import VerifyError

TO_DO = "Verify with the job file that the workers run, or give the values it had: --set KEY=VALUE"


def refuse_edited(now: str, commits: Iterable[str]) -> None:
    """Raises VerifyError if a join partition's last commit was made by another version of the job.

    `now` and `commits` are whole fingerprints, which tell what was edited.
    """
    for then in commits:
        keys = differences(then, now)
        if keys != []:
            edited = "streams, key, window, fields, label or partitions" if keys is None else ", ".join(keys)
            raise VerifyError(
                f"the samples were made by another version of the job; edited since: {edited}. Nothing can be compared "
                f"with the job file as it is now. {TO_DO}"
            )


def refuse_foreign(now: str, samples: Mapping[str, int]) -> None:
    """Raises VerifyError if there are samples but none of this version, by their headers. Used if there is no commit.

    `samples`: short fingerprint -> number of samples.
    """
    if samples and short(now) not in samples:
        made = ", ".join(f"{name} ({count:,})" for name, count in sorted(samples.items()))
        raise VerifyError(
            f"the samples were made by another version of the job: their fingerprints are {made}, the job file's is "
            f"{short(now)}. Its streams, key, window, fields, label or partitions were edited since. {TO_DO}"
        )
