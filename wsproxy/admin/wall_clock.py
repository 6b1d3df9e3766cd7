"""
Times as operators are told them: milliseconds since 1970 and ISO 8601 in UTC.

Driven by ``admin.control``, ``admin.live`` and ``admin.state_file``. What only measures a span goes by ``now_ms`` of
``_fast.state.segment``, which no clock that is set can move.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal


def wall_ms() -> int:
    """Milliseconds since 1970, now."""
    return time.time_ns() // 1_000_000


def iso_of(at_ms: int, timespec: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """``at_ms``, milliseconds since 1970, as ``2026-11-29T08:15:00+00:00``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec=timespec)
