"""Samples as JSON objects, one per record. NaN and infinities become null: JSON has no such numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

dumps: Callable[[dict[str, Any]], bytes] = orjson.dumps
"""The sample as UTF-8. Raises TypeError for integers beyond 64 bits, keys that are no text, and other non-JSON data."""
