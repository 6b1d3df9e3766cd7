"""What is known of a request and of its process while their lines are read."""

from __future__ import annotations

import pytest

from tests.support.plugin_log import CONFIG, make_world
from wsproxy._fast.logs.request import LoggedRequest, Process

pytestmark = pytest.mark.asan


@pytest.fixture
def process() -> Process:
    return make_world().new_process()


def begin(process: Process, number: int) -> LoggedRequest:
    return LoggedRequest(process, (1, number), "log", number, 0, has_begun=True)


def test_server_is_found_by_its_name_with_both_addresses(process: Process) -> None:
    place = process.find(b"n_s1")
    assert place is not None
    assert (place.name, place.index) == ("n_s1", 0)
    assert place.addresses == ("h1:9443", "h1:9080")
    assert process.find(b"nobody") is None


def test_cluster_decides_between_servers_of_one_name() -> None:
    process = make_world(CONFIG.replace('"n_m1"', '"n_s1"')).new_process()
    first, second = process.find(b"n_s1", 0), process.find(b"n_s1", 1)
    assert first is not None
    assert second is not None
    assert (first.cluster, second.cluster) == process.clusters[:2]
    assert process.find(b"n_s1") is first


def test_request_is_alone_until_another_begins(process: Process) -> None:
    """Then none of the two ever was; ``running`` is counted down by who ends them."""
    first = begin(process, 1)
    assert first.is_alone
    second = begin(process, 2)
    assert not first.is_alone
    assert not second.is_alone
    assert (process.running, process.meetings) == (2, 1)


def test_session_is_known_with_its_first_line(process: Process) -> None:
    request = begin(process, 1)
    assert not request.knows_session()
    request.cookies.append(b"a=b")
    assert request.knows_session()
