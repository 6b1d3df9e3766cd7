"""Match, then affinity, then balancing, then the next server after a failure: as a replay asks for them."""

from __future__ import annotations

import pytest

from tests.support.operators import drain
from tests.support.plugin_log import make_world
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import sessions_of
from wsproxy._fast.logs.replay import ReplayedRequest, Rule
from wsproxy._fast.logs.request import Process
from wsproxy._fast.state.segment import now_ms

pytestmark = pytest.mark.asan

NOW = 1000
LATER = 70_000  # the RetryInterval is over
K2 = b"JSESSIONID=0000session:k2"


@pytest.fixture
def process() -> Process:
    return make_world().new_process()


def ask(process: Process, *cookies: bytes) -> ReplayedRequest:
    return ReplayedRequest(process.decider, process.view, b"www", 80, b"/shop/a", list(cookies))


def serve(process: Process, *cookies: bytes, now_ms: int = NOW) -> tuple[int, int]:
    """Server and rule of a whole request."""
    request = ask(process, *cookies)
    found = request.choose(now_ms, -1)
    request.finish()
    return found


def cluster_of(process: Process) -> Cluster:
    cluster = process.clusters[0]
    assert cluster is not None
    return cluster


def test_server_that_the_session_names_comes_before_any_turn(process: Process) -> None:
    assert [serve(process, K2) for _ in range(4)] == [(1, Rule.AFFINITY)] * 4


def test_request_without_a_session_has_the_next_turn(process: Process) -> None:
    found = [serve(process) for _ in range(4)]
    assert {server for server, _ in found} == {0, 1}
    assert {rule for _, rule in found} == {Rule.BALANCED}


def test_clone_id_that_nobody_has_leaves_it_to_the_turn(process: Process) -> None:
    found = [serve(process, b"JSESSIONID=0000session:gone") for _ in range(2)]
    assert sorted(found) == [(0, Rule.BALANCED), (1, Rule.BALANCED)]


def test_server_that_is_down_is_left_by_its_sessions_until_it_may_be_tried(
    process: Process,
) -> None:
    cluster_of(process).set_down(1, 0, NOW)
    assert serve(process, K2) == (0, Rule.BALANCED)
    assert serve(process, K2, now_ms=LATER) == (1, Rule.AFFINITY)


def test_failed_server_is_not_chosen_again_for_the_same_request(process: Process) -> None:
    """Primaries, then the backup, then nobody."""
    request = ask(process, K2)
    tries = []
    while (found := request.choose(NOW, -1))[0] >= 0:
        tries.append(found)
        request.fail()
    assert tries == [(1, Rule.AFFINITY), (0, Rule.BALANCED), (2, Rule.BALANCED)]
    assert found == (-1, Rule.NONE)


def test_drained_server_has_its_sessions_and_no_turn(process: Process) -> None:
    drain(cluster_of(process), 1)
    assert [serve(process, K2) for _ in range(2)] == [(1, Rule.AFFINITY)] * 2
    assert {serve(process) for _ in range(4)} == {(0, Rule.BALANCED)}


@pytest.mark.parametrize(
    "form", [b"%023d", b"%dXXXXXXXXXXXXXXXXXXX", b"a%dlongersessionidthanthatofwebsphere"]
)
def test_sessions_are_told_apart_though_their_ids_are_alike(process: Process, form: bytes) -> None:
    """Each comes twice, with another cache id: 1200 were they two. 40 % are five standard errors; the hash has a new key each time."""
    cluster = cluster_of(process)
    for number in range(600):
        for cache in (b"0000", b"0001"):
            serve(
                process, b"JSESSIONID=" + cache + form % (1000 + number) + b":k2", now_ms=now_ms()
            )
    assert 360 <= sessions_of(cluster, 1).seen <= 840
    assert 0 <= sessions_of(cluster, 1).last_ms < 60_000
    assert sessions_of(cluster, 0) == (0, -1)
