"""An open loop: times count from when a request was due, with real sockets and servers that are ended; what a run comes to."""

from __future__ import annotations

import socket
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from wsproxy.bench import paced
from wsproxy.bench.bed import own_config
from wsproxy.bench.cputime import CpuTime
from wsproxy.bench.generator import Columns, column
from wsproxy.bench.open_loop import Outage, Ran, Script, even_after, judge, percentile, steady
from wsproxy.bench.results import Paced
from wsproxy.bench.site import read_site
from wsproxy.bench.stubs import running_stubs
from wsproxy.config.model import Log
from wsproxy.demo.ports import free_ports

CORE = 0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SECOND_US = 1_000_000


def send(
    port: int,
    requests: list[bytes],
    due_us: list[int],
    connections: int = 8,
    timeout_us: int = 5 * SECOND_US,
) -> paced.Run:
    """One run; job ``n`` is request ``n`` modulo how many there are."""
    which = array("i", [at % len(requests) for at in range(len(due_us))])
    run = paced.Run(
        port, requests, which.tobytes(), array("q", due_us).tobytes(), connections, timeout_us
    )
    run.run(time.monotonic_ns() // 1000)
    return run


def statuses(run: paced.Run) -> list[int]:
    return [*column(bytes(run.columns["status"]), "i")]


def times(run: paced.Run, due_us: list[int]) -> list[int]:
    return [
        done - due for done, due in zip(column(bytes(run.columns["done"])), due_us, strict=True)
    ]


@contextmanager
def answers(*texts: bytes) -> Iterator[int]:
    """A server that says ``texts`` in turn, one a request, whatever the request is; empty: it closes instead."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = list(texts)

        def serve() -> None:
            while left:
                connection, _ = listener.accept()
                with connection:
                    while left and connection.recv(65536):
                        text = left.pop(0)
                        if not text:
                            break
                        connection.sendall(text)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_stall_is_seen_by_all_who_came_meanwhile() -> None:
    """One connection and a server that takes half a second for the first: the others waited, though they were sent late."""
    (port,) = free_ports(1)
    slow = b"GET / HTTP/1.1\r\nHost: a\r\nX-Bench-Say: 500000 10 200\r\n\r\n"
    due = [0, 100_000, 200_000, 300_000]
    with running_stubs([port], CORE):
        run = send(port, [slow, GET, GET, GET], due, connections=1)
    assert statuses(run) == [200] * 4
    took = times(run, due)
    assert took[0] >= 500_000
    assert took[1] >= 400_000
    assert took[2] >= 300_000
    assert took[3] >= 200_000
    # that is no fault of the generator's
    assert max(column(bytes(run.columns["late"]))) < 200_000


def test_status_size_and_server_of_each_answer_are_noted() -> None:
    (port,) = free_ports(1)
    missing = b"GET / HTTP/1.1\r\nHost: a\r\nX-Bench-Say: 0 3000000 404\r\n\r\n"
    head = b"HEAD / HTTP/1.1\r\nHost: a\r\nX-Bench-Say: 0 3000 200\r\n\r\n"
    unchanged = b"GET / HTTP/1.1\r\nHost: a\r\nX-Bench-Say: 0 0 304\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000)
    with running_stubs([port], CORE):
        run = send(port, [GET, missing, head, unchanged, post, GET], [0] * 6, connections=2)
    assert statuses(run) == [200, 404, 200, 304, 200, 200]
    assert set(column(bytes(run.columns["server"]), "i")) == {port}
    sizes = [*column(bytes(run.columns["size"]))]
    assert sizes[1] > 3_000_000
    assert sizes[2] < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 0\r\n\r\n",
    ],
)
def test_end_of_an_answer_is_found(body: bytes) -> None:
    """Each of three comes on the same connection: who stopped early or late would not understand the next."""
    answer = b"HTTP/1.1 200 OK\r\n" + body
    with answers(b"HTTP/1.1 100 Continue\r\n\r\n" + answer, answer, answer) as port:
        run = send(port, [GET], [0, 0, 0], connections=1)
    assert statuses(run) == [200, 200, 200]
    assert run.again == 0


def test_answer_that_is_none_is_told_apart() -> None:
    with answers(b"hello, what is this?\r\n\r\n") as port:
        assert statuses(send(port, [GET], [0])) == [paced.NOT_HTTP]


def test_used_connection_that_is_closed_is_opened_again_once() -> None:
    """As browsers do; a new one that is closed is an error."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with answers(good, b"", good) as port:
        run = send(port, [GET], [0, 0], connections=1)
    assert statuses(run) == [200, 200]
    assert run.again == 1
    with answers(b"") as port:
        assert statuses(send(port, [GET], [0])) == [paced.REFUSED]


def test_nobody_there_and_no_answer_in_time() -> None:
    (port,) = free_ports(1)
    assert statuses(send(port, [GET], [0, 1000])) == [paced.REFUSED] * 2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = listener.getsockname()[1]
        run = send(silent, [GET], [0, 0, 0], connections=1, timeout_us=200_000)
        assert statuses(run) == [paced.TIMED_OUT] * 3


def test_server_that_is_ended_refuses_until_it_is_back() -> None:
    (port, other) = free_ports(2)
    with running_stubs([port, other], CORE) as stubs:
        assert statuses(send(port, [GET], [0])) == [200]
        stubs.down(port)
        assert statuses(send(port, [GET], [0])) == [paced.REFUSED]
        assert statuses(send(other, [GET], [0])) == [200]
        stubs.up(port)
        assert statuses(send(port, [GET], [0])) == [200]
    assert statuses(send(port, [GET], [0])) == [paced.REFUSED]


# --- what a run comes to ------------------------------------------------------------------------------------------------


def judged(rows: list[tuple[int, int, int, int, int]], outages: tuple[Outage, ...] = ()) -> Paced:
    """Of jobs as (due, done, status, owner, server), all of which should be 200 and take 100 us at the server."""
    script = Script()
    for due, _, _, owner, _ in rows:
        script.add(due, 0, owner, service_us=100)
    names: dict[str, bytes] = {
        "done": array("q", [row[1] for row in rows]).tobytes(),
        "status": array("i", [row[2] for row in rows]).tobytes(),
        "server": array("i", [row[4] for row in rows]).tobytes(),
        "late": array("q", [7] * len(rows)).tobytes(),
    }
    columns = Columns(sent=b"", size=b"", again=1, **names)
    ran = Ran(columns, CpuTime(3, 2), wall_s=1.0)
    return judge(script, ran, {1: "a", 2: "b"}, outages, proxy="x", round=1, phase="")


def test_latency_counts_from_when_it_was_due_without_the_servers_share() -> None:
    paced_run = judged([(0, 400, 200, 0, 1), (1000, 3100, 200, 0, 2), (2000, 2050, 200, 0, 2)])
    assert (paced_run.p50_us, paced_run.most_us, paced_run.errors) == (300, 2000, 0)
    assert paced_run.cpu_us == pytest.approx(50_000 / 3)
    assert (paced_run.again, paced_run.late_p99_us) == (1, 7)
    assert paced_run.windows[0].by_server == {"a": 1, "b": 2}


def test_errors_and_sessions_at_other_servers_are_told_apart() -> None:
    rows = [
        (0, 400, 200, 1, 1),
        (10, 400, 200, 1, 2),  # broken affinity
        (20, 400, 502, 1, 0),
        (30, 400, -1, 2, 0),
    ]
    paced_run = judged(rows)
    assert (paced_run.errors, paced_run.with_owner, paced_run.kept) == (2, 2, 1)
    assert not paced_run.is_clean
    assert paced_run.windows[0].errors == 2


def test_session_of_a_server_that_is_away_has_moved_and_is_not_broken() -> None:
    rows = [
        (0, 400, 200, 1, 1),
        (1_000_000, 1_000_400, 200, 1, 2),  # away
        (
            3_000_000,
            3_000_400,
            200,
            1,
            2,
        ),  # back: the session may stay where it is, and is not counted
        (3_000_100, 3_000_400, 200, 2, 2),
    ]
    paced_run = judged(rows, (Outage(1, 0.9, 2.0),))
    assert (paced_run.with_owner, paced_run.kept, paced_run.moved) == (2, 2, 1)


def test_balance_is_even_when_a_server_has_its_share_again() -> None:
    rows = [(at * 100_000, at * 100_000 + 400, 200, 0, 1) for at in range(30)]
    rows += [
        (at * 100_000 + 1, at * 100_000 + 400, 200, 0, 2) for at in range(30) if not 10 <= at < 22
    ]
    paced_run = judged(sorted(rows))
    assert even_after(paced_run, "b", 2.0, 0.5) == 1.0
    assert even_after(paced_run, "nobody", 2.0, 0.5) is None


def test_percentile_of_few_and_of_none() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([1, 2, 3], 0.5) == 2
    assert percentile([*range(1000)], 0.999) == 999


def test_times_are_the_same_for_every_proxy_and_have_their_rate() -> None:
    site = read_site(own_config(), (41001, 41002), Log())
    one, other = (steady(site, port, 1000, 5) for port in (1, 2))
    assert one.due_us == other.due_us
    assert one.owner == other.owner
    assert len(one) == pytest.approx(5000, rel=0.1)
    assert sum(1 for owner in one.owner if not owner) == pytest.approx(len(one) / 4, rel=0.2)
    gaps = [after - before for before, after in zip(one.due_us, one.due_us[1:], strict=False)]
    assert max(gaps) > 4000  # clients know nothing of each other
    one_run = judged([(0, 1, 200, 0, 1)])
    assert msgspec.json.decode(msgspec.json.encode(one_run), type=Paced) == one_run
