"""The test kit: `from samplejoin.testing import JobTest`. What it simulates, and what not: `job_test`."""

from samplejoin.testing.job_test import DeadLettersWarning, JobTest
from samplejoin.testing.results import DeadLetter, FinishedSample

__all__ = ["DeadLetter", "DeadLettersWarning", "FinishedSample", "JobTest"]
