"""Runs without Kafka: all records of a job to its samples, and the trial on sample records of `samplejoin check`."""

from samplejoin.offline.run import InputRecord, run_offline

__all__ = ["InputRecord", "run_offline"]
