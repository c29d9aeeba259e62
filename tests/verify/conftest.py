"""The fixtures of the integration tests, here too."""

from __future__ import annotations

from tests.integration.conftest import start_worker, world

__all__ = ["start_worker", "world"]
