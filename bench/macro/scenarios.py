"""
What is measured: one frozen row a scenario.

Read by ``__main__`` and ``bed``. A new scenario of the same kind (keep-alive GET) is one row here and one location in
``configs/upstream.conf``; its name is also the name of the result file.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_BODY_BYTES = 128
LARGE_BODY_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of traffic; ``path`` must answer 200 with ``body_bytes`` bytes on each upstream."""

    name: str
    title: str
    path: str
    body_bytes: int
    # 32: what DESIGN.md section 5 used; enough to keep one core of each proxy busy, few enough for flat latency
    connections: int = 32


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "small", "128-byte answers, keep-alive on both sides", "/app/small", SMALL_BODY_BYTES
        ),
        Scenario("64k", "64-KiB answers, keep-alive on both sides", "/app/64k", LARGE_BODY_BYTES),
    )
}
