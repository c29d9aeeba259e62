"""The test kit: `from samplejoin.testing import JobTest`. What it simulates, and what not: `job_test`."""

from samplejoin.samples import DeadLetter, FinishedSample
from samplejoin.testing.job_test import DeadLettersWarning, JobTest

__all__ = ["DeadLetter", "DeadLettersWarning", "FinishedSample", "JobTest"]
