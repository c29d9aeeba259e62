"""The worker's pages: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes, `/status.json` for humans."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

import samplejoin
from samplejoin.core.values import Fields
from samplejoin.worker.http_server import Answer, Pages
from samplejoin.worker.snapshot import snapshot_of


def pages(app: Any) -> Pages:
    """Returns the pages of a worker by path. A blocked event loop answers none of them, so `/livez` fails too."""

    def metrics() -> Answer:
        return Answer(200, "text/plain; version=0.0.4", app.metrics.text())

    def livez() -> Answer:
        live = app.failure is None
        return _json({"live": live}, live)

    def readyz() -> Answer:
        problems = [str(app.failure)] if app.failure is not None else app.runtime.problems()
        page = {"ready": not problems, "problems": problems, "warnings": app.warnings()}
        return _json(page, not problems)

    def status() -> Answer:
        snapshot = snapshot_of(app.runtime)
        about = {"job": app.job.model.prefix, "version": samplejoin.__version__, "warnings": app.warnings()}
        return _json({**about, **asdict(snapshot)}, True)

    return {"/metrics": metrics, "/livez": livez, "/readyz": readyz, "/status.json": status}


def _json(body: Fields, well: bool) -> Answer:
    return Answer(200 if well else 503, "application/json", orjson.dumps(body))
