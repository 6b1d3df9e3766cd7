"""One request of a log: what it asks for, which server it has, and what it holds there."""

from __future__ import annotations

import pytest

from tests.support.plugin_log import make_world
from wsproxy._fast.logs.replay import ReplayedRequest, Rule
from wsproxy._fast.logs.request import Process

pytestmark = pytest.mark.asan

NOW = 1000


@pytest.fixture
def process() -> Process:
    return make_world().new_process()


def ask(
    process: Process, target: bytes = b"/shop/a", cookies: list[bytes] | None = None
) -> ReplayedRequest:
    return ReplayedRequest(process.decider, process.view, b"www", 80, target, cookies or [])


def inflight(process: Process) -> list[int]:
    cluster = process.clusters[0]
    assert cluster is not None
    return [cluster.server_state(server)["inflight"] for server in range(3)]


def test_route_and_path_are_those_of_live_traffic(process: Process) -> None:
    request = ask(process, b"/shop/a;jsessionid=0000x:k1?q=;b")
    assert request.match() == (0, 0, 7, 6, b"JSESSIONID", b"jsessionid")
    assert (request.path, request.cluster, request.cookie) == (b"/shop/a", 0, b"JSESSIONID")
    assert request.clone_ids() == [b"k1"]


def test_request_without_a_route_has_no_cluster(process: Process) -> None:
    request = ask(process, b"/none", [b"JSESSIONID=0000x:k1"])
    assert (request.match(), request.cluster, request.clone_ids()) == (None, -1, [])


def test_cookies_may_come_after_the_route(process: Process) -> None:
    request = ask(process)
    assert request.clone_ids_in([b"JSESSIONID=0000x:k2"]) == [b"k2"]
    assert request.clone_ids() == []
    request.bring([b"a=b; JSESSIONID=0000x:k3"])
    assert request.clone_ids() == [b"k3"]


@pytest.mark.parametrize(
    ("target", "cookies", "words"),
    [
        (b"/" + b"a" * 99_999, [], "found a target of 100000 bytes"),
        (b"/shop/a", [b""] * 301, "allowed are up to 300 values"),
        (b"/shop/a", ["text"], "allowed are up to 300 values"),
    ],
)
def test_what_live_traffic_refuses_is_refused(
    process: Process, target: bytes, cookies: list[bytes], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ask(process, target, cookies)


def test_request_holds_the_server_that_the_log_names_and_gives_it_back(process: Process) -> None:
    request = ask(process)
    ours, _ = request.choose(NOW, -1)
    assert inflight(process)[ours] == 1
    request.go_to(1 - ours)
    assert (inflight(process)[ours], inflight(process)[1 - ours]) == (0, 1)
    request.finish()
    assert inflight(process) == [0, 0, 0]


def test_what_the_log_chose_is_allowed_where_it_could_have_been_ours(process: Process) -> None:
    """Whose turn it was depends on processes that the log does not show; a backup has none while primaries are up."""
    for logged in (0, 1, 0, 0, 1, 1):
        request = ask(process)
        server, rule = request.choose(NOW, logged)
        assert server == logged
        assert rule in (Rule.BALANCED, Rule.ALLOWED)
        request.finish()
    assert ask(process).choose(NOW, 2)[0] in (0, 1)


def test_a_last_chance_of_another_server_than_logged_is_named(process: Process) -> None:
    """It goes to the one that failed first; that the log has another one does not use it up."""
    cluster = process.clusters[0]
    assert cluster is not None
    for server, at_ms in ((1, NOW - 30), (0, NOW - 20), (2, NOW - 10)):
        cluster.set_down(server, 0, at_ms)
    assert ask(process).choose(NOW, 0) == (1, Rule.BALANCED)
