"""The test kit: `from samplejoin.testing import JobTest`. `job_test` says what it simulates and what it does not."""

from samplejoin.testing.job_test import DeadLettersWarning, JobTest
from samplejoin.testing.results import DeadLetter, FinishedSample

__all__ = ["DeadLetter", "DeadLettersWarning", "FinishedSample", "JobTest"]
