"""What docs/verify.md shows is what the command prints, and names every class and field of the report."""

from __future__ import annotations

from pathlib import Path

import orjson

from samplejoin.verify.render import text_of
from samplejoin.verify.report import Report
from tests.verify.support import end, feed, header, job_of, spoil, verify, written

PAGE = Path(__file__).parents[2] / "docs" / "verify.md"


def example() -> str:
    """The report over a small job of which a sample is lost and one has a wrong label."""
    job = job_of(max_wait="1h")
    topics = written(job, end(feed()))
    by_pos = {orjson.loads(s.value)["pos"]: i for i, s in enumerate(topics.samples)}
    topics.samples[by_pos[12]] = spoil(topics.samples[by_pos[12]], clicks=0, label=0)
    topics.samples[by_pos[30]] = header(topics.samples[by_pos[30]], "complete", b"false:click")
    topics.samples.pop(by_pos[9])
    return "\n".join(text_of(verify(job, topics)))


def test_the_example_is_current():
    assert f"```text\n$ samplejoin verify job.yaml\n{example()}\n```" in PAGE.read_text(encoding="utf-8")


def test_every_name_of_the_json_is_explained():
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in Report("job").as_dict() if f"`{name}`" not in text]
    assert not missing
