"""Runs without Kafka: the offline run, which joins all records of a job, and the trial of `samplejoin check`."""

from samplejoin.offline.run import InputRecord, run_offline

__all__ = ["InputRecord", "run_offline"]
