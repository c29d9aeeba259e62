"""A closed window becomes a sample: label, down-sampling, format, in that order (rules 12, 13, 14)."""

from __future__ import annotations

from samplejoin.core.cells import SLICE, STREAM, Cell
from samplejoin.core.fold import Window, merged_cells, whole_window
from samplejoin.core.generated import Readers
from samplejoin.core.identity import keep, sample_id
from samplejoin.core.large_key_windows import LargeWindow
from samplejoin.core.outcomes import DeadSample, Outcomes, Sample
from samplejoin.core.spec import Spec
from samplejoin.core.user_errors import mistakes, not_for_memory, said, trace_of
from samplejoin.core.values import Fields


class Finisher:
    """Makes samples of windows; counts each window's one outcome as `samples`, each correction's as `revisions`."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._reset()
        self.readers = Readers(spec)
        self.anchors = {plan.index for plan in spec.plans if plan.anchor}
        #: streams whose producers may send a row twice
        self._with_id = {plan.index for plan in spec.plans if plan.stream.id_field}
        #: whether a window's cells tell everything: no correction, no down-sampling
        self._short = not spec.correction and spec.keep_negatives >= 1.0 and spec.clock == "event" and not self._with_id

    def finish(
        self,
        key: bytes,
        window: Window | LargeWindow,
        out: Outcomes,
        *,
        revision: int = 0,
        previous_weight: float = 0.0,
        truncated: bool = False,
        missing: tuple[str, ...] = (),
    ) -> float:
        """Emits the window's sample to `out`; returns its weight, 0 if no sample was emitted."""
        spec = self.spec
        self._windows += not revision
        counter = "revisions" if revision else "samples"
        slice_ms, anchor = window.slice * spec.resolution_ms, window.anchor
        id_ = sample_id(spec.name, key, anchor[SLICE], spec.streams[anchor[STREAM]].name, window.first)
        values: Fields = {}
        function = "aggregate"
        try:
            merged, joined = window.merged(spec)
            if self._with_id and not revision:
                self._count_folded(window, joined)
            values = self.readers[tuple(merged) if len(merged) == 1 else tuple(sorted(merged))](key, merged)
            function = "label"
            label = self._label(values, joined)
            values["label"], weight = label, 1.0
            if spec.keep_negatives < 1.0:
                if not label and not keep(id_, spec.keep_negatives):
                    out.count(counter, "down-sampled")
                    return 0.0
                values["weight"] = weight = 1.0 if label else 1.0 / spec.keep_negatives
            function = "format"
            payload = spec.format(values)
        except mistakes() as error:  # the user's code: an error costs this sample only
            not_for_memory(error, f"{function} of sample {id_}")
            out.count(counter, "dead")
            out.dead.append(DeadSample(key, id_, slice_ms, function, said(error), trace_of(error), values))
            return 0.0
        if payload is None or len(payload) > spec.max_sample_bytes:
            out.count(counter, "filtered" if payload is None else "dead")
            out.dead += [] if payload is None else [_too_large(spec, key, id_, slice_ms, values, payload)]
            return 0.0
        sample = Sample(key, id_, slice_ms, payload, revision, weight, previous_weight, truncated, missing)
        (out.emit or out.samples.append)(sample)
        if revision:
            out.count("revisions", "sent")
        else:
            self._count_joined(label, joined)
        return weight

    def finish_whole(self, key: bytes, cells: list[Cell], clock: int, out: Outcomes) -> bool:
        """The fast path of `finish`, for a key with one window that has ended, which holds all its cells.

        Returns False, and changes nothing, if the key is not like that or anything raises: `finish` then handles it.
        """
        spec = self.spec
        whole = whole_window(spec, cells) if self._short else None
        if whole is None or whole[1] > clock:
            return False
        stream, slice_, rows, partials = whole[0]
        try:
            if len(cells) == 1:
                merged, joined = {stream: partials}, {stream: rows}
                values = self.readers[(stream,)](key, merged)
            else:
                merged, joined = merged_cells(spec, cells)
                values = self.readers[tuple(sorted(merged))](key, merged)
            label = self._label(values, joined)
            values["label"] = label
            payload = spec.format(values)
        except mistakes():
            return False
        if payload is not None and len(payload) > spec.max_sample_bytes:
            return False
        self._windows += 1
        if payload is None:
            out.count("samples", "filtered")
            return True
        id_ = sample_id(spec.name, key, slice_, spec.streams[stream].name, partials[0])
        (out.emit or out.samples.append)(Sample(key, id_, slice_ * spec.resolution_ms, payload))
        self._count_joined(label, joined)
        return True

    def count(self, out: Outcomes) -> None:
        """Adds the counts since the last call to `out`: sums are cheaper than a count per sample."""
        if self._windows:
            out.count("windows", by=self._windows)
        for name, number in zip(("negative", "positive"), self._made, strict=True):
            if number:
                out.count("samples", name, number)
        for stream, folded in zip(self.spec.streams, self._folded, strict=True):
            if folded:
                out.count("folded_rows", stream.name, folded)
        for stream, rows, samples in zip(self.spec.streams, self._rows, self._joined, strict=True):
            if rows:
                out.count("joined_rows", stream.name, rows)
                out.count("joined_samples", stream.name, samples)
        self._reset()

    def _reset(self) -> None:
        self._windows = 0
        self._made = [0, 0]
        self._rows = [0] * len(self.spec.streams)
        self._folded = [0] * len(self.spec.streams)
        self._joined = [0] * len(self.spec.streams)

    def _count_joined(self, label: object, joined: dict[int, int]) -> None:
        self._made[bool(label)] += 1
        for stream, rows in joined.items():
            self._rows[stream] += rows
            self._joined[stream] += 1

    def _count_folded(self, window: Window | LargeWindow, joined: dict[int, int]) -> None:
        """Counts the rows whose id another row of the window has (rule 7)."""
        for stream, rows in window.rows_of(self._with_id).items():
            self._folded[stream] += rows - joined.get(stream, 0)

    def _label(self, values: Fields, joined: dict[int, int]) -> object:
        if self.spec.label is not None:
            return self.spec.label(values)
        return int(any(stream not in self.anchors for stream in joined))


def _too_large(spec: Spec, key: bytes, id_: str, slice_ms: int, values: Fields, payload: bytes) -> DeadSample:
    error = f"sample of {len(payload)} bytes is over limits.sample ({spec.max_sample_bytes} bytes)"
    return DeadSample(key, id_, slice_ms, "sample_too_large", error, "", values, payload)
