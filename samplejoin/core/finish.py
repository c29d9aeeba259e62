"""A closed window becomes a sample: label, down-sampling, format, in that order (rules 12, 13, 14)."""

from __future__ import annotations

import traceback
from typing import Any

from samplejoin.core.cells import SLICE
from samplejoin.core.fold import Window, fields_of
from samplejoin.core.identity import keep, sample_id
from samplejoin.core.outcomes import DeadSample, Outcomes, Sample
from samplejoin.core.spec import Spec


class Finisher:
    """Makes samples of windows; counts what it keeps, filters, drops and cannot make."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.anchors = {plan.index for plan in spec.plans if plan.anchor}

    def finish(
        self, key: bytes, window: Window, out: Outcomes, *, revision: int = 0, previous_weight: float = 0.0,
        truncated: bool = False, missing: tuple[str, ...] = (),
    ) -> float:  # fmt: skip
        """Emits the window's sample into `out`; returns its weight, 0 if nothing went out."""
        spec = self.spec
        slice_ms = window.slice * spec.resolution_ms
        id_ = sample_id(spec.name, key, window.anchor[SLICE], window.first)
        values: dict[str, Any] = {}
        function = "aggregate"
        try:
            values, joined = fields_of(spec, key, window)
            function = "label"
            label = self._label(values, joined)
            weight = 1.0
            if not label and spec.keep_negatives < 1.0:
                if not keep(id_, spec.keep_negatives):
                    out.count("samples", "down-sampled")
                    return 0.0
                weight = 1.0 / spec.keep_negatives
            values["label"] = label
            if spec.keep_negatives < 1.0:
                values["weight"] = weight
            function = "format"
            payload = spec.format(values)
        except Exception as error:  # the user's code: whatever it raises costs this sample only
            out.dead.append(
                DeadSample(key, id_, slice_ms, function, repr(error)[:1000], traceback.format_exc(limit=-8), values)
            )
            out.count("samples", "dead")
            return 0.0
        if payload is None:
            out.count("samples", "filtered")
            return 0.0
        out.samples.append(Sample(key, id_, slice_ms, payload, revision, weight, previous_weight, truncated, missing))
        if not revision:
            self._count(joined, label, out)
        return weight

    def _label(self, values: dict[str, Any], joined: dict[int, int]) -> Any:
        if self.spec.label is not None:
            return self.spec.label(values)
        return int(any(stream not in self.anchors for stream in joined))

    def _count(self, joined: dict[int, int], label: Any, out: Outcomes) -> None:
        out.count("samples", "positive" if label else "negative")
        streams = self.spec.streams
        for stream, rows in joined.items():
            name = streams[stream].name
            out.count("joined_rows", name, rows)
            out.count("joined_samples", name)
