"""Runs without Kafka: all records of a job to its samples, and the trial on sample records of `samplejoin check`."""
