"""The worker's web port: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

STALLED_S = 30.0


def pages(app: Any) -> None:
    """Registers the pages. `livez` fails when the event loop has not turned for 30 s: it does not answer then."""

    @app.page("/metrics")  # type: ignore[untyped-decorator]  # Faust
    async def metrics(view: Any, request: Any) -> Any:
        return view.bytes(app.metrics.text(), content_type="text/plain; version=0.0.4")

    @app.page("/livez")  # type: ignore[untyped-decorator]  # Faust
    async def livez(view: Any, request: Any) -> Any:
        started = time.monotonic()
        await asyncio.sleep(0)
        late = time.monotonic() - started > STALLED_S or app.failure is not None
        return view.json({"live": not late}, status=503 if late else 200)

    @app.page("/readyz")  # type: ignore[untyped-decorator]  # Faust
    async def readyz(view: Any, request: Any) -> Any:
        problems = [str(app.failure)] if app.failure is not None else app.runtime.problems()
        return view.json({"ready": not problems, "problems": problems}, status=503 if problems else 200)
