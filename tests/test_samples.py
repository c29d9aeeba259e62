"""The headers of the samples topic: what is written can be read, and says the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core.outcomes import Sample
from samplejoin.samples import HEADERS, PREVIOUS_WEIGHT, HeaderWriter, SampleHeaders, read_headers

WEIGHTS = st.floats(min_value=0, allow_nan=False, allow_infinity=False) | st.just(1.0)


@pytest.mark.rule(5, 6, 14)
@given(
    id_=st.text("0123456789abcdef", min_size=32, max_size=32), revision=st.integers(0, 1 << 40), weight=WEIGHTS,
    previous=WEIGHTS, truncated=st.booleans(), missing=st.lists(st.sampled_from(["click", "like"]), unique=True),
)  # fmt: skip
def test_what_is_written_is_read(id_, revision, weight, previous, truncated, missing):
    sample = Sample(
        b"[1]", id_, 0, b"{}", revision=revision, weight=weight, previous_weight=previous, truncated=truncated,
        missing=tuple(missing),
    )  # fmt: skip
    headers = HeaderWriter("feed", "0123456789abcdef").write(sample)
    names = [name for name, _ in headers]
    assert names == [*HEADERS, *([PREVIOUS_WEIGHT] if revision else [])]
    read = read_headers(headers)
    assert read == SampleHeaders(
        id_, revision, weight, previous if revision else None, tuple(missing), truncated, "feed", "0123456789abcdef"
    )
    assert read.complete == (not missing)


@pytest.mark.rule(6)
def test_the_bytes_are_the_contract():
    plain = HeaderWriter("feed", "99e5471e939cea0f").write(Sample(b"[1]", "a" * 32, 0, b"{}"))
    assert plain == [
        ("sample_id", b"a" * 32), ("revision", b"0"), ("complete", b"true"), ("truncated", b"false"),
        ("weight", b"1.0"), ("job", b"feed"), ("fingerprint", b"99e5471e939cea0f"),
    ]  # fmt: skip


def test_a_record_that_is_not_a_sample_is_refused():
    with pytest.raises(ValueError, match="not a sample: it has no header sample_id, revision"):
        read_headers([("job", b"feed")])
