"""
Prints how many requests of a log a second are simulated.

Run by hand: ``python -m bench.micro.simulate [requests]``. Must not judge: the figures depend on the machine. CPU time of this
process counts, not the clock. The log is that of ``plugin_log``.
"""

from __future__ import annotations

import gc
import platform
import sys
import tempfile
import time
from pathlib import Path

from bench.micro.plugin_log import PLUGIN_DEBUG, make_config, write_log
from wsproxy.cli.reading import MOST_UNCOLLECTED
from wsproxy.config.settings import Settings
from wsproxy.config.xml import parse_config
from wsproxy.logs.plugin_reader import Reading, read_logs
from wsproxy.replay.replay import Replay
from wsproxy.replay.world import World
from wsproxy.simulate.record import Recording
from wsproxy.simulate.simulation import Scenario, Simulation
from wsproxy.simulate.traffic import Traffic

REQUESTS = 30_000
REPEATS = 3  # the fastest counts: anything slower was disturbed


def read_seconds(path: Path) -> tuple[float, Traffic]:
    """CPU seconds until the requests of the log are in order, and them."""
    config = parse_config(make_config(), "plugin-cfg.xml").config
    traffic = Traffic(World(config, Settings()))
    reading = Reading()
    replay = Replay(traffic.read_by.world, reading, on_end=traffic.add)
    began = time.process_time()
    for lines in read_logs([str(path)], reading, wanted_only=True):
        replay.take(lines)
    replay.end()
    traffic.close()
    return time.process_time() - began, traffic


def run_seconds(traffic: Traffic) -> tuple[float, float]:
    """CPU seconds to count what the log says, and to simulate it."""

    def show(_what: str, _done: int, _of: int) -> None:
        pass

    # a simulation leaves its servers as they are at the end: each needs its own
    simulation = Simulation(traffic, traffic.new, Scenario())
    began = time.process_time()
    Recording(traffic).run(show)
    middle = time.process_time()
    simulation.run(show)
    return middle - began, time.process_time() - middle


def main() -> None:
    """All figures."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    gc.freeze()
    gc.set_threshold(MOST_UNCOLLECTED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "http_plugin.log"
        write_log(path, requests, PLUGIN_DEBUG)
        runs = []
        for _ in range(REPEATS):
            reading, traffic = read_seconds(path)
            runs.append((reading, *run_seconds(traffic)))
    reading, recording, simulating = (min(times) for times in zip(*runs, strict=True))
    print(f"{platform.machine()}, Python {platform.python_version()}, {requests} requests")
    print(f"read the log         {requests / reading:10.0f} requests a second")
    print(f"what the log says    {requests / recording:10.0f} requests a second")
    print(f"simulate             {requests / simulating:10.0f} requests a second")


if __name__ == "__main__":
    main()
