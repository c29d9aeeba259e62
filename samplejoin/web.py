"""The worker's web port: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from samplejoin.engine.config import WorkerError

STALLED_S = 30.0


def refuse_taken(host: str, port: int) -> None:
    """Raises WorkerError if the web port cannot be opened: Faust would only crash over it, half started."""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WorkerError(
            f"web port {port} on {host} cannot be opened ({reason}): set web_port, --web-port or SAMPLEJOIN_WEB_BIND"
        ) from error


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
        page = {"ready": not problems, "problems": problems, "warnings": app.warnings()}
        return view.json(page, status=503 if problems else 200)
