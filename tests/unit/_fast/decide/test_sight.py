"""Who was passed over is told with the reason of the choice that passed him over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.listening import listen
from tests.support.operators import drain
from tests.support.stage import Stage
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import now_ms
from wsproxy._fast.tell.witness import Passed

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A primary for one request at a time, and a backup."""
    made = Stage(backup=True, attributes={"max_connections": 1})
    yield made
    made.end()


def cluster_of(stage: Stage) -> Cluster:
    cluster = stage.plan.clusters[0]
    assert cluster is not None
    return cluster


def passed_over(stage: Stage) -> tuple[str, list[Passed]]:
    """Of one request: its server, and those that it could not have."""
    witness = listen(stage)
    stage.client().deliver(GET)
    chosen = witness.told[-1].chosen
    assert chosen is not None
    return chosen.server, chosen.passed


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda cluster: cluster.take_server(0, 0, now_ms()), {"full"}),
        (lambda cluster: drain(cluster, 0), {"drained"}),
        (lambda cluster: cluster.set_down(0, 0, now_ms()), {"is_down", "left_s"}),
    ],
    ids=["full", "drained", "down"],
)
def test_reason_is_the_one_of_the_choice(
    stage: Stage, make: Callable[[Cluster], object], expected: set[str]
) -> None:
    make(cluster_of(stage))
    server, passed = passed_over(stage)
    assert server == "b"
    assert [each.server for each in passed] == ["s"]
    reasons = passed[0]._asdict()
    assert {name for name, value in reasons.items() if value and name != "server"} == expected
    if "full" in expected:
        cluster_of(stage).release_server(0, 0)


def test_nobody_is_passed_over_where_the_first_one_serves(stage: Stage) -> None:
    assert passed_over(stage) == ("s", [])
