"""What a simulation reads of a request, and where it lets turns begin."""

from __future__ import annotations

import pytest

from tests.support.plugin_log import make_world
from tests.support.simulated import make_xml, read_xml
from wsproxy._fast.logs.replay import ReplayedRequest
from wsproxy._fast.logs.simulate import read_affinity, start_cluster
from wsproxy.replay.world import World

SESSION = b"ABCDEFGHIJKLMNOPQRSTUVW"
SSL = b"SSLJSESSION=0000SESSIONMANAGEMENTAFFINI:k3"


@pytest.mark.parametrize(
    ("target", "cookies", "expected"),
    [
        (b"/shop/a", [], (b"", ())),
        (b"/elsewhere", [b"JSESSIONID=0000" + SESSION + b":k1"], (b"", ())),
        (b"/shop/a", [b"JSESSIONID=0001" + SESSION + b":k1:k2"], (SESSION, (b"k1", b"k2"))),
        (b"/shop/a", [b"JSESSIONID=0000" + SESSION], (b"", ())),
        (b"/shop/a;jsessionid=0000" + SESSION + b":k2", [], (SESSION, (b"k2",))),
        (b"/shop/a", [SSL], (b"", (b"k3",))),
        (b"/shop/a", [b"JSESSIONID=0000" + SESSION + b":k1", SSL], (SESSION, (b"k3", b"k1"))),
        (b"/shop/a", [b"JSESSIONID=0000SESSIONMANAGEMENTAFFINI:k1"], (b"", (b"k1",))),
    ],
)
def test_the_session_and_its_clone_ids_are_read(
    target: bytes, cookies: list[bytes], expected: tuple[bytes, tuple[bytes, ...]]
) -> None:
    process = make_world().new_process()
    request = ReplayedRequest(process.decider, process.view, b"www", 80, target, cookies)
    assert read_affinity(request) == expected


def test_turns_begin_where_they_are_told() -> None:
    world = World(read_xml(make_xml(*[""] * 5)))
    firsts = set()
    for turns in range(1 << 40, 40 << 40, 1 << 40):
        chosen = []
        for _ in range(2):
            cluster = world.new_process().clusters[0]
            assert cluster is not None
            start_cluster(cluster, turns, 1)
            chosen.append([cluster.pick_server(0, 1000) for _ in range(7)])
        assert chosen[0] == chosen[1]
        firsts.add(chosen[0][0])
    assert firsts == set(range(5))
