"""What streams and idle connections cost a worker in memory; ``python -m bench.memory`` is the same with 5 GiB and 10,000."""

from __future__ import annotations

import pytest

from bench.lab import raise_descriptors
from bench.memory import SPARE_DESCRIPTORS, measure_connections, measure_streams

SLOW_S = 1.0
IDLE = 3000  # fewer, and the steps in which an allocator takes memory blur the figure


@pytest.mark.parametrize(("gigabytes", "secure"), [(0.25, False), (1 / 16, True)])
def test_stream_costs_a_few_mib(gigabytes: float, secure: bool) -> None:
    """A long download, a long upload, a slow reader, a slow server: none makes the worker grow with its length."""
    for row in measure_streams(gigabytes, SLOW_S, secure=secure):
        assert row.is_kept, row


def test_idle_connection_costs_3_kib() -> None:
    """One that had an answer and waits; as many again take the memory that the first ones left."""
    raise_descriptors(IDLE + SPARE_DESCRIPTORS)
    first, again = measure_connections(IDLE, secure=False)
    assert first.is_kept, first
    assert again.figure < 0.8 * first.figure, (first, again)
