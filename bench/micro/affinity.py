"""
Prints what the choice of a server costs: reading clone ids, the server that they name, the memory of moved sessions.

Run by hand: ``python -m bench.micro.affinity``. Must not judge: the figures depend on the machine, the ratios matter.
Each request is decided over and over in C, with the head in the first-level cache, as a worker decides it; CPU time counts, not the clock.
"""

from __future__ import annotations

import platform
import time

from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.bench import traffic
from wsproxy.config.settings import Settings
from wsproxy.config.xml import parse_config
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.view import make_view

ROUNDS = 20_000
REPEATS = 50  # the fastest counts: anything slower was disturbed
SERVERS = 8
CLONE_ID = "17c3bq8d2"  # shaped like WebSphere's own: 9 characters, base 32
CONFIG = """<Config><ServerCluster Name="c">{servers}</ServerCluster>
<UriGroup Name="u"><Uri Name="/*"/></UriGroup><Route ServerCluster="c" UriGroup="u"/></Config>"""


def make_config() -> bytes:
    """One cluster; its last server is ``CLONE_ID``, so that all CloneIDs are compared."""
    names = [*(f"spare{number}" for number in range(SERVERS - 1)), CLONE_ID]
    servers = "".join(
        f'<Server Name="{name}" CloneID="{name}"><Transport Hostname="127.0.0.1" Port="1"/></Server>'
        for name in names
    )
    return CONFIG.format(servers=servers).encode()


def requests() -> dict[str, tuple[bytes, list[bytes]]]:
    """Target and Cookie fields by name."""
    session = traffic.session_id(1)
    own = CLONE_ID
    site = traffic.cookie(1).encode()
    return {
        "no cookie": (b"/", []),
        "cookies, no session": (b"/", [site]),
        "session among cookies": (
            b"/",
            [traffic.cookie(1, traffic.session_cookie(1, "JSESSIONID", ":", [own])).encode()],
        ),
        "session alone": (b"/", [f"JSESSIONID=0000{session}:{own}".encode()]),
        "session in the path": (f"/;jsessionid=0000{session}:{own}".encode(), []),
        "unknown clone id": (b"/", [f"JSESSIONID=0000{session}:gone".encode()]),
        "second clone id": (b"/", [f"JSESSIONID=0000{session}:gone:{own}".encode()]),
        "20 KB of cookies": (
            b"/",
            [b"; ".join([b"c=" + b"v" * 400] * 50) + f"; JSESSIONID=0000{session}:{own}".encode()],
        ),
    }


def main() -> None:
    """Prints a line for each request."""
    print(f"{platform.machine()}, Python {platform.python_version()}, best of {REPEATS}")
    config = parse_config(make_config(), "plugin-cfg.xml").config
    plan = build_plan(config, Settings(), SharedState(64, 4))
    plan.apply()
    decider, view = Decider(0), make_view(plan, with_pools=False)
    now = now_ms()
    for name, (target, cookies) in requests().items():
        request = ReplayedRequest(decider, view, b"h", 80, target, cookies)
        best = float("inf")
        for _ in range(REPEATS):
            start = time.process_time_ns()
            assert request.count_decisions(now, ROUNDS) == ROUNDS
            best = min(best, (time.process_time_ns() - start) / ROUNDS)
        print(f"{name:<24}{best:>8.0f} ns")


if __name__ == "__main__":
    main()
