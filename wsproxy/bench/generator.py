"""
Requests at their times, in a process of its own: ``python -m wsproxy.bench.generator PLAN RESULT``.

The parent (``open_loop``) writes the plan and pins the process; ``paced`` does the work. Says when it begins on standard output, in
nanoseconds of CLOCK_MONOTONIC, so that the parent can do things at times of the run.
"""

from __future__ import annotations

import gc
import sys
import time
from array import array
from pathlib import Path

import msgspec

from wsproxy.bench.paced import Run

# Between what is said and the first request: the parent must have read it.
LEAD_US = 50_000


class Plan(msgspec.Struct, frozen=True):
    """Job ``n`` is request ``which[n]``, due ``due_us[n]`` after the start; the last two are arrays of int32 and int64."""

    port: int
    requests: list[bytes]
    which: bytes
    due_us: bytes
    connections: int
    timeout_us: int


class Columns(msgspec.Struct, frozen=True):
    """What became of each job, in arrays: microseconds after the start (``late``: after it could have been sent), status (below 1: ``paced``), port."""

    late: bytes
    sent: bytes
    done: bytes
    size: bytes
    status: bytes
    server: bytes
    again: int


def column(data: bytes, kind: str = "q") -> array[int]:
    """One of them as numbers."""
    numbers = array(kind)
    numbers.frombytes(data)
    return numbers


def main(plan_file: str, result_file: str) -> None:
    """One run. I/O."""
    plan = msgspec.msgpack.decode(Path(plan_file).read_bytes(), type=Plan)
    run = Run(plan.port, plan.requests, plan.which, plan.due_us, plan.connections, plan.timeout_us)
    gc.freeze()
    gc.disable()
    start_us = time.monotonic_ns() // 1000 + LEAD_US
    print(start_us, flush=True)
    run.run(start_us)
    columns = {name: bytes(values) for name, values in run.columns.items()}
    Path(result_file).write_bytes(msgspec.msgpack.encode(Columns(again=run.again, **columns)))


if __name__ == "__main__":
    main(*sys.argv[1:])
