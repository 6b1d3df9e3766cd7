"""One client's requests that are answered here do not keep the others waiting: a few, then the loop turns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fake_transport import HIGH, FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.http1 import Http1

pytestmark = pytest.mark.asan

MISS = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"
METHODS = b"OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n"
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"
# More than one turn may take up, and far fewer than the tests send.
FEW = 16


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.end()


def roomy(stage: Stage) -> FakeTransport:
    """A client whose kernel takes every answer of a test at once."""
    return stage.client(kernel_bytes=1 << 20)


def statuses(answers: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)


def all_turns(stage: Stage) -> int:
    """Turns until nobody waits for another one."""
    count = 1
    while stage.engine.take_turns():
        count += 1
    return count


def test_requests_that_are_answered_here_take_several_turns_and_keep_their_order(
    stage: Stage,
) -> None:
    client = roomy(stage)
    client.deliver((MISS + METHODS) * 100)
    found = statuses(client.drain())
    assert 0 < len(found) <= FEW
    is_more = True
    while is_more:
        is_more = stage.engine.take_turns()
        step = statuses(client.drain())
        assert len(step) <= FEW
        found += step
    assert found == [b"404", b"200"] * 100
    assert not client.is_closing_


def test_two_such_clients_get_turns_alike_and_a_third_need_not_wait_for_their_end(
    stage: Stage,
) -> None:
    """Who has had its turn stands behind everybody else."""
    first, second, late = (roomy(stage) for _ in range(3))
    first.deliver(MISS * 200)
    second.deliver(MISS * 200)
    counts = [len(statuses(each.drain())) for each in (first, second)]
    for _ in range(4):
        assert stage.engine.take_turns()
    late.deliver(MISS * 3)
    answered = len(statuses(late.drain()))
    for _ in range(4):
        assert stage.engine.take_turns()
        answered += len(statuses(late.drain()))
    assert answered == 3
    counts = [
        before + len(statuses(each.drain()))
        for before, each in zip(counts, (first, second), strict=True)
    ]
    assert max(counts) < 100
    assert abs(counts[0] - counts[1]) <= FEW
    all_turns(stage)
    assert [len(statuses(each.drain())) for each in (first, second)] == [200 - n for n in counts]


def test_new_clients_have_no_more_than_a_turn_between_them(stage: Stage) -> None:
    """Else many connections, with a few requests each, would do what one with many may not."""
    clients = [roomy(stage) for _ in range(50)]
    for client in clients:
        client.deliver(MISS * 5)
    first = [len(statuses(client.drain())) for client in clients]
    assert min(first) >= 1  # whoever comes gets something
    assert sum(first) <= len(clients) + FEW
    all_turns(stage)
    assert [a + len(statuses(c.drain())) for a, c in zip(first, clients, strict=True)] == [5] * 50


def test_request_for_a_server_goes_on_among_those_that_are_answered_here(stage: Stage) -> None:
    client = roomy(stage)
    client.deliver(MISS * 30 + GET + MISS * 30)
    all_turns(stage)
    assert statuses(client.drain()) == [b"404"] * 30
    upstream = stage.server()
    upstream.deliver(OK)
    all_turns(stage)
    assert statuses(client.drain()) == [b"200"] + [b"404"] * 30


def test_what_comes_while_a_client_waits_for_its_turn_stands_behind_what_it_sent_before(
    stage: Stage,
) -> None:
    client = roomy(stage)
    client.deliver(MISS * 30)
    before = stage.engine.requests
    client.deliver(METHODS * 2)
    assert stage.engine.requests == before
    all_turns(stage)
    assert statuses(client.drain()) == [b"404"] * 30 + [b"200"] * 2


def test_client_that_sends_on_while_it_waits_is_not_read_any_more_and_goes_on(
    stage: Stage,
) -> None:
    """What may be pending has a limit; when it is used up, reading begins again without new bytes."""
    client = roomy(stage)
    sent = 0
    while client.is_reading_ and sent < 10_000:
        client.deliver(MISS * 100)
        sent += 100
    assert not client.is_reading_
    assert sent * len(MISS) < 2 * HIGH
    answered = 0
    while stage.engine.take_turns():
        answered += len(statuses(client.drain()))
    assert client.is_reading_
    assert answered + len(statuses(client.drain())) == sent


def test_half_closed_client_gets_its_answers_over_several_turns_and_then_the_end(
    stage: Stage,
) -> None:
    client = roomy(stage)
    client.deliver(MISS * 50)
    assert client.protocol.eof_received()
    assert "close" not in client.calls
    all_turns(stage)
    assert statuses(client.drain()) == [b"404"] * 50
    assert client.calls[-1] == "close"


def test_client_that_is_gone_when_its_turn_comes_gets_nothing(stage: Stage) -> None:
    client = roomy(stage)
    client.deliver(MISS * 50)
    before = stage.engine.requests
    client.lose(ConnectionResetError())
    assert not stage.engine.take_turns()
    assert stage.engine.requests == before


def test_client_that_cannot_be_answered_any_more_is_not_asked_for_more(stage: Stage) -> None:
    """Its kernel refuses the first answer: the requests behind it go nowhere, and its connection ends."""
    client = roomy(stage)
    client.far.close()
    client.deliver(MISS + GET)
    assert stage.engine.requests == 1
    assert stage.inflight == 0
    assert client.calls[-1] == "abort"


def test_answers_that_are_not_read_stop_the_turns_until_they_are(stage: Stage) -> None:
    """Two reasons to wait, one after the other."""
    client = stage.client()
    client.deliver(MISS * 300)
    all_turns(stage)
    assert client.is_paused
    answers = bytearray()
    while stage.engine.take_turns() or client.held:
        answers += client.pump()
    answers += client.taken()
    assert len(statuses(bytes(answers))) == 300


def test_stopping_worker_ends_a_client_that_waits_for_its_turn_with_the_next_answer(
    stage: Stage,
) -> None:
    client = roomy(stage)
    client.deliver(MISS * 50)
    before = client.drain()
    assert stage.engine.drain() == 1
    all_turns(stage)
    last = client.drain()
    assert statuses(last) == [b"404"]
    assert b"\r\nConnection: close\r\n" in last
    assert (
        client.calls[-1] == "write_eof"
    )  # the end, and what the client sends meanwhile is thrown away
    assert b"Connection: close" not in before


def test_waiting_for_a_turn_is_not_the_clients_fault(stage: Stage) -> None:
    """Neither for keepalive_s nor for head_s; both count again when it has had its turns."""
    client = roomy(stage)
    client.deliver(MISS * 50 + MISS[:10])
    stage.wait()
    assert client.calls == []
    all_turns(stage)
    assert statuses(client.drain()) == [b"404"] * 50
    stage.wait()
    assert statuses(client.drain()) == [b"408"]


@pytest.mark.parametrize("rest", [b"", b"\r"], ids=["nothing", "half an empty line"])
def test_idle_client_that_had_several_turns_is_ended_in_time(stage: Stage, rest: bytes) -> None:
    client = roomy(stage)
    client.deliver(MISS * 50 + rest)
    all_turns(stage)
    client.drain()
    assert not client.is_closing_
    stage.wait()
    assert client.calls or statuses(client.drain()) == [b"408"]


def test_client_that_is_read_later_and_may_not_be_read_is_read_when_both_are_over(
    stage: Stage,
) -> None:
    """Its server takes no more, and its records were enough for one turn: one after the other, in both orders."""
    client = roomy(stage)
    client.protocol.read_later()
    assert not client.is_reading_
    client.protocol.read_later()
    client.is_reading_ = True  # what its transport had read already
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
    client.is_reading_ = False
    upstream = stage.server()
    assert not client.is_reading_
    assert not stage.engine.take_turns()
    assert client.is_reading_
    upstream.protocol.pause_writing()
    client.protocol.read_later()  # its transport is asked once
    assert not stage.engine.take_turns()
    assert not client.is_reading_
    upstream.protocol.resume_writing()
    assert client.is_reading_


def test_error_in_one_turn_costs_one_connection(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = roomy(stage), roomy(stage)
    broken.deliver(MISS * 20)
    sound.deliver(MISS * 20)
    failing = itertools.count()
    assert isinstance(broken.protocol, Http1)
    exchange = broken.protocol.exchange

    def no_route(downstream: Downstream, *asked: Any) -> None:
        if downstream is exchange and next(failing) == 0:
            raise MemoryError
        real(downstream, *asked)

    real = stage.slow.no_route
    monkeypatch.setattr(stage.slow, "no_route", no_route)
    all_turns(stage)
    assert broken.calls[-1] == "abort"
    assert len(statuses(sound.drain())) == 20
    assert "internal error" in caplog.text


def test_empty_lines_are_no_requests(stage: Stage) -> None:
    """A flood of them takes no turns, and what follows them is answered."""
    client = roomy(stage)
    client.deliver(b"\r\n" * 100_000 + MISS + b"\r\n" * 100 + MISS)
    assert statuses(client.drain()) == [b"404"] * 2
    assert stage.engine.requests == 2


def test_payload_of_many_chunks_goes_on_in_few_pieces(stage: Stage) -> None:
    """A client of HTTP/1.0 gets no chunks; a send for each would be 40,000 in one read."""
    client = stage.client()
    client.deliver(b"GET /app/x HTTP/1.0\r\n\r\n")
    upstream = stage.server()
    upstream.deliver(
        b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * 20_000
        + b"0\r\n\r\n"
    )
    # One for each read, and these take few of such chunks.
    writes = [call for call in client.calls if call.startswith("write")]
    assert len(writes) <= 6 * 20_000 // FINE + 2
    answer = client.drain()
    assert answer.endswith(b"\r\n\r\n" + b"x" * 20_000)
    assert client.calls[-1] == "close"


# --- what one read may cost -----------------------------------------------------------------------------------------

FINE = 16384
LARGE = b"8000\r\n" + bytes(0x8000) + b"\r\n"


@pytest.mark.parametrize(
    "chunk", [b"1\r\nx\r\n", b"1;" + b"e" * 200 + b"\r\nx\r\n"], ids=["bare", "long"]
)
@pytest.mark.parametrize("minor", [0, 1])
def test_of_an_answers_fine_chunks_a_read_takes_few(stage: Stage, chunk: bytes, minor: int) -> None:
    """Looking for 40,000 borders takes a millisecond, and eight such servers at once a turn of ten."""
    client = roomy(stage)
    client.deliver(GET.replace(b"HTTP/1.1", b"HTTP/1.%d" % minor))
    upstream = stage.server()
    upstream.deliver(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + LARGE)
    assert len(upstream.protocol.get_buffer(-1)) > 4 * FINE
    upstream.deliver(chunk * 100)
    assert len(upstream.protocol.get_buffer(-1)) <= FINE
    upstream.deliver(LARGE)
    assert len(upstream.protocol.get_buffer(-1)) > 4 * FINE
    upstream.deliver(b"0\r\n\r\n")
    assert client.drain().count(bytes(0x8000)) == 2


@pytest.mark.parametrize("end", [b"", b"1\r\n"], ids=["at a border", "within a chunk"])
def test_of_a_requests_fine_chunks_a_read_takes_few(stage: Stage, end: bytes) -> None:
    client = roomy(stage)
    client.deliver(b"POST /app/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    stage.server(kernel_bytes=1 << 20)
    client.deliver(LARGE)
    assert len(client.protocol.get_buffer(-1)) > 2 * FINE
    client.deliver(b"1\r\nx\r\n" * 100 + end)
    assert len(client.protocol.get_buffer(-1)) <= FINE + 1


def test_of_what_is_thrown_away_a_read_takes_little(stage: Stage) -> None:
    """A client can leave a hundred connections that linger, each with megabytes that nobody wants."""
    client = roomy(stage)
    client.deliver(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
    assert client.wrote_eof
    assert len(client.protocol.get_buffer(-1)) <= FINE
