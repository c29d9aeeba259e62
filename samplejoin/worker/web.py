"""The worker's pages: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes."""

from __future__ import annotations

from typing import Any

import orjson

from samplejoin.worker.http_server import Answer, Pages


def pages(app: Any) -> Pages:
    """The pages of a worker. An event loop that does not turn answers none of them, `/livez` least of all."""

    def metrics() -> Answer:
        return Answer(200, "text/plain; version=0.0.4", app.metrics.text())

    def livez() -> Answer:
        live = app.failure is None
        return _json({"live": live}, live)

    def readyz() -> Answer:
        problems = [str(app.failure)] if app.failure is not None else app.runtime.problems()
        page = {"ready": not problems, "problems": problems, "warnings": app.warnings()}
        return _json(page, not problems)

    return {"/metrics": metrics, "/livez": livez, "/readyz": readyz}


def _json(body: dict[str, Any], well: bool) -> Answer:
    return Answer(200 if well else 503, "application/json", orjson.dumps(body))
