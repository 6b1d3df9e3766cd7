"""The referee of the traffic fuzzer finds what it is there for: each fault that a proxy could have, made up; and nothing where all is right."""

from __future__ import annotations

import re
from collections import Counter
from email.utils import formatdate
from random import Random

import pytest

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.link import End
from tests.fuzz.traffic.plans import (
    BY_NAME,
    LANES,
    Behaviour,
    Case,
    ClientPlan,
    Fault,
    LanePlan,
    Temper,
    lane_of,
    make_case,
)
from tests.fuzz.traffic.reading import Body, body_payload, pattern, read_requests
from tests.fuzz.traffic.records import Arrival, Left, Visit
from tests.fuzz.traffic.referee import GHOST_S, LATE_S, Referee
from tests.fuzz.traffic.rewritten import Rules
from tests.support.oracles import rewrite
from tests.support.oracles.chunked import parse_chunked
from tests.support.oracles.errors import RefusedError

NOW_S = 1_800_000_000.0
ADDRESS = "127.9.9.9"
DATE = f"Date: {formatdate(NOW_S, usegmt=True)}\r\n".encode()
GET = b"GET /good/0 HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\n$WSRA: 6.6.6.6\r\n\r\n"
NEXT = b"GET /good/1 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /good/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
CHUNKS = (
    b"POST /good/3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
)
OLD = b"GET /good/4 HTTP/1.0\r\nHost: a\r\n\r\n"
NOWHERE = b"GET /nowhere/5 HTTP/1.1\r\nHost: a\r\n\r\n"
PAGE_BODY = b"<small>wsproxy</small></body></html>\n"


class Scene:
    """One client that sent ``stream``; what servers and the proxy do is said by the test."""

    def __init__(self, stream: bytes, *, is_tls: bool = False, sent: int = -1) -> None:
        plan = ClientPlan("polite", is_tls, stream, ())
        self.visit = Visit.of(Case("s", 0, (plan,)), 0, ADDRESS)
        self.visit.sent = len(stream) if sent < 0 else sent
        self.visit.began_s = self.visit.ended_s = NOW_S
        self.referee = Referee(Rules())
        self.referee.begin(self.visit)

    def head(self, index: int) -> bytes:
        """A request as the proxy must write it."""
        head = rewrite.request(
            self.visit.asked.requests[index].raw,
            peer=ADDRESS.encode(),
            local_host=b"127.0.0.1",
            port=80,
            keep_private=False,
            failover=False,
        )
        assert head is not None
        return head

    def arrives(
        self,
        index: int,
        *,
        head: bytes = b"",
        body: bytes | None = None,
        lane: LanePlan = LANES[0],
        fault: Fault = Fault.NONE,
    ) -> Arrival:
        """A request comes to a server."""
        request = self.visit.asked.requests[index]
        length = None if request.head["chunked"] else max(int(request.head["content_length"]), 0)
        arrival = self.referee.arrive(
            lane,
            "s0",
            head or self.head(index),
            Body(length, is_chunked=bool(request.head["chunked"])),
            1.0,
        )
        arrival.behaviour = Behaviour(fault=fault)
        arrival.body.feed(request.body if body is None else body)
        return arrival

    def hears(self, *parts: bytes, end: End = End.OPEN) -> None:
        """The client receives."""
        for part in parts:
            self.visit.answers.feed(part)
        if end is not End.OPEN:
            self.visit.answers.finish(end)

    def problems(self) -> str:
        return "\n".join([*self.referee.judge(self.visit), *self.referee.complaints])


def answers(arrival: Arrival, framing: str = "length", size: int = 100, *, cut: int = 0) -> bytes:
    """A server answers; what the client should get of it. ``cut``: so many bytes are missing, then a reset."""
    payload = pattern(arrival.tag, size)
    lines = b"HTTP/1.1 200 OK\r\nX-Answer: %b\r\n" % arrival.tag.encode()
    if framing == "length":
        head, body = lines + b"Content-Length: %d\r\n\r\n" % size, payload
    elif framing == "chunked":
        head = lines + b"Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, payload)
    else:
        head, body = lines + b"\r\n", payload
    sent = (head + body)[: len(head + body) - cut]
    arrival.sent += sent
    arrival.is_all_sent = not cut
    arrival.end = End.CUT if cut else End.ORDERLY if framing == "close" else End.OPEN
    arrival.ended_s = 2.0
    ours = DATE + (b"Connection: close\r\n" if framing == "close" else b"")
    return head.replace(b"\r\n\r\n", b"\r\n" + ours + b"\r\n") + sent[len(head) :]


def page(status: int, date: bytes = DATE) -> bytes:
    """A page of wsproxy."""
    head = b"HTTP/1.1 %d No\r\n%bContent-Length: %d\r\nCache-Control: no-store\r\n\r\n"
    return head % (status, date, len(PAGE_BODY)) + PAGE_BODY


# --- where all is right ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("message", [GET, POST, CHUNKS])
def test_exchange_that_is_right(message: bytes, framing: str) -> None:
    scene = Scene(message)
    scene.hears(answers(scene.arrives(0), framing), end=End.ORDERLY)
    assert scene.problems() == ""


def test_cuts_that_look_like_cuts_are_right() -> None:
    for framing in ("length", "chunked", "close"):
        scene = Scene(GET)
        scene.hears(answers(scene.arrives(0), framing, cut=3), end=End.CUT)
        assert scene.problems() == ""


def test_failed_try_and_another_one_are_right() -> None:
    scene = Scene(POST)
    scene.arrives(0).ended_s = 2.0
    scene.hears(answers(scene.arrives(0)))
    assert scene.problems() == ""


def test_pages_where_they_belong_are_right() -> None:
    scene = Scene(NOWHERE + NEXT + b"\0")
    scene.hears(page(404))
    scene.hears(answers(scene.arrives(1)), page(400), end=End.ORDERLY)
    assert scene.problems() == ""


# --- requests at servers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"$WSRA: 127.9.9.9", b"$WSRA: 6.6.6.6"),
        (b"$WSRA: 127.9.9.9\r\n", b""),
        (b"$WSRA: 127.9.9.9", b"$WSRA: 127.9.9.9\r\n$WSRA: 6.6.6.6"),
        (b"$WSSC: http\r\n", b"$WSSC: https\r\n"),
        (b"$WSSC: http\r\n", b""),
        (b"\r\n\r\n", b"\r\n$WSRU: admin\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX-Hop: 1\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX-More: 1\r\n\r\n"),
        (b"Host: a", b"Host: b"),
        (b"/good/0", b"/good/9"),
        (b"GET ", b"PUT "),
    ],
)
def test_head_that_is_not_as_it_must_be(old: bytes, new: bytes) -> None:
    scene = Scene(GET)
    head = scene.head(0)
    assert old in head
    with pytest.raises(LookupError):
        scene.arrives(0, head=head.replace(old, new))


def test_request_of_a_client_that_left_long_ago() -> None:
    scene = Scene(GET)
    scene.referee.end(scene.visit, 10.0)
    other = Scene(GET).visit
    scene.referee.begin(other)
    scene.referee._visits.pop(ADDRESS.encode())
    with pytest.raises(LookupError):
        scene.arrives(0)
    assert LATE_S > 30


def test_requests_in_another_order() -> None:
    scene = Scene(GET + NEXT)
    scene.arrives(1)
    with pytest.raises(LookupError):
        scene.arrives(0)
    scene = Scene(GET + NEXT)
    scene.arrives(0)
    scene.arrives(1)
    assert "out of order" in scene.problems()


@pytest.mark.parametrize(
    ("message", "body", "said"),
    [
        (POST, b"BODY", "another body"),
        (POST, b"bo", "came in part"),
        (POST, b"xo", "another body"),
        (CHUNKS, b"4\r\nbodY\r\n0\r\n\r\n", "another body"),
        (CHUNKS, b"3\r\nbod\r\n0\r\n\r\n", "another body"),
        (CHUNKS, b"x", "another body"),
        (CHUNKS, b"4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n", "another body"),
    ],
)
def test_body_that_is_not_the_clients(message: bytes, body: bytes, said: str) -> None:
    scene = Scene(message)
    scene.arrives(0, body=body)
    assert said in scene.problems()


def test_body_that_its_client_never_sent_whole() -> None:
    for cut, whole in ((POST[:-1], b"body"), (CHUNKS[:-2], CHUNKS.partition(b"\r\n\r\n")[2])):
        scene = Scene(cut)
        scene.arrives(0, body=whole)
        assert "its client never sent all of it" in scene.problems()


def test_part_of_a_request_that_a_server_keeps_when_its_client_is_gone() -> None:
    scene = Scene(POST[:-1], sent=len(POST) - 1)
    scene.arrives(0, body=b"bod").ended_s = 3.0 + GHOST_S
    scene.visit.left, scene.visit.left_s = Left.GONE, 2.0
    assert "later that its client had left" in scene.problems()


def test_request_that_comes_again_though_it_was_answered() -> None:
    scene = Scene(POST)
    answers(scene.arrives(0))
    scene.hears(answers(scene.arrives(0)))
    assert "repeated:" in scene.problems()
    assert "was answered with 200" in scene.problems()


def test_request_that_comes_again_though_nothing_is_kept_of_it() -> None:
    for name, is_wrong in (("once", True), ("bad", False)):
        scene = Scene(POST)
        lane = BY_NAME[name.encode()]
        scene.arrives(0, lane=lane).ended_s = 2.0
        scene.hears(answers(scene.arrives(0, lane=lane)))
        assert ("more than PostBufferSize" in scene.problems()) is is_wrong


def test_request_that_comes_far_too_often() -> None:
    scene = Scene(GET)
    for _ in range(6):
        scene.arrives(0).ended_s = 2.0
    assert "came 6 times" in scene.problems()


# --- answers ---------------------------------------------------------------------------------------------------------


def test_answer_of_somebody_else() -> None:
    """Whether all of it is, or its end; with its head, or under the right one."""
    scene = Scene(GET)
    arrival = scene.arrives(0)
    right = answers(arrival)
    foreign = pattern("a99", 100)
    for heard in (
        right.replace(b"X-Answer: %b" % arrival.tag.encode(), b"X-Answer: a99"),
        right[:-100] + foreign,
        right[:-1] + b"!",
    ):
        again = Scene(GET)
        answers(again.arrives(0))
        again.hears(heard)
        assert "nobody sent" in again.problems()


def test_answers_in_another_order() -> None:
    scene = Scene(GET + NEXT)
    first = answers(scene.arrives(0))
    second = answers(scene.arrives(1))
    scene.hears(second, first)
    assert scene.problems().count("nobody sent") == 2


@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_cut_that_looks_whole(framing: str) -> None:
    scene = Scene(GET)
    heard = answers(scene.arrives(0), framing, cut=20)
    end = b"" if framing == "close" else b"\r\n0\r\n\r\n"
    if framing == "chunked":  # as if the rest of the chunk did not matter
        head, _, body = heard.partition(b"\r\n\r\n")
        payload = body_payload(body)
        heard = head + b"\r\n\r\n%x\r\n" % len(payload) + payload
    scene.hears(heard + end, end=End.ORDERLY)
    assert "it looks whole, and the server's answer was cut" in scene.problems()


def test_cut_that_looks_whole_to_a_client_without_chunks() -> None:
    scene = Scene(OLD)
    heard = answers(scene.arrives(0), "chunked", cut=20)
    head, _, body = heard.partition(b"\r\n\r\n")
    head = head.replace(b"Transfer-Encoding: chunked\r\n", b"") + b"\r\nConnection: close\r\n\r\n"
    scene.hears(head + body_payload(body), end=End.ORDERLY)
    assert "it looks whole" in scene.problems()


def test_end_that_comes_too_early() -> None:
    """The server said more, and the client heard an orderly end."""
    scene = Scene(GET)
    scene.hears(answers(scene.arrives(0), "close")[:-10], end=End.ORDERLY)
    assert "it looks whole with 90 of 100 bytes" in scene.problems()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_whole_answer_that_is_cut(framing: str) -> None:
    scene = Scene(GET)
    scene.hears(answers(scene.arrives(0), framing)[:-30], end=End.CUT)
    assert "was cut after" in scene.problems()


def test_answer_that_does_not_come() -> None:
    for first in (b"", answers):
        scene = Scene(GET + NEXT)
        if callable(first):
            scene.hears(first(scene.arrives(0)))
        scene.hears(end=End.ORDERLY)
        assert "none to request" in scene.problems()


def test_answer_that_nobody_asked_for() -> None:
    scene = Scene(GET)
    heard = answers(scene.arrives(0))
    scene.hears(heard + heard)
    assert "an answer that nobody asked for" in scene.problems()


def test_what_stood_behind_an_answer() -> None:
    scene = Scene(GET + NEXT)
    scene.hears(answers(scene.arrives(0)) + messages.POISON)
    assert "what stood behind a server's answer" in scene.problems()


def test_what_is_no_answer() -> None:
    for heard in (
        b"HTTP/1.1 200 OK\nX: 1\n\n",
        b"\0",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        scene = Scene(GET)
        scene.hears(heard)
        assert scene.problems().startswith("answer: ")


def test_page_in_place_of_an_answer() -> None:
    for status in (400, 502, 503):
        scene = Scene(GET)
        scene.hears(page(status))
        assert "its servers do nothing wrong" in scene.problems()
    scene = Scene(NOWHERE)
    scene.hears(page(502))
    assert "that is 404" in scene.problems()


def test_page_of_another_moment() -> None:
    scene = Scene(NOWHERE)
    scene.hears(page(404, b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"))
    assert "the Date is" in scene.problems()


def test_tunnel_with_other_bytes() -> None:
    head = b"GET /good/0 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    switch = b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    for heard, said, is_right in ((b"abc", b"xyz", True), (b"abX", b"xyz", False), (b"abc", b"xyZ", False), (b"ab", b"xyz", False)):  # fmt: skip
        scene = Scene(head)
        arrival = scene.arrives(0)
        arrival.sent += switch
        arrival.is_tunnel = True
        arrival.tunnel_sent += b"xyz"
        arrival.tunnelled += heard
        scene.visit.tunnel_sent += b"abc"
        scene.visit.left = Left.ENDED
        scene.hears(switch + said, end=End.ORDERLY)
        assert (scene.problems() == "") is is_right, scene.problems()


# --- what it builds on -----------------------------------------------------------------------------------------------


def test_same_number_is_the_same_case() -> None:
    assert make_case("a", 7) == make_case("a", 7)
    assert make_case("a", 7) != make_case("a", 8)
    assert make_case("a", 7) != make_case("b", 7)
    lane = BY_NAME[b"bad"]
    case = make_case("a", 7)
    assert case.behaviour(0, 1, 2, lane) == case.behaviour(0, 1, 2, lane)


def test_cases_have_everything_that_is_planned() -> None:
    """Each style, lane, way to leave and fault comes up among a few hundred cases, and most requests are sound."""
    clients = [client for number in range(400) for client in make_case("a", number).clients]
    steps = Counter(do for client in clients for do, _ in client.steps)
    asked = [each for client in clients for each in read_requests(client.stream).requests]
    lanes = Counter(lane_of(request) for request in asked)
    assert len({client.style for client in clients}) == 7
    assert min(steps.values()) >= 5
    assert len(steps) == 8
    assert all(lanes[lane] > 10 for lane in LANES)
    whole = [client for client in clients if not client.is_mutated]
    sound = sum(read_requests(client.stream).refusal is None for client in whole)
    assert sound > 0.8 * len(whole)
    bad = next(lane for lane in LANES if lane.temper is Temper.BAD)
    case = make_case("a", 0)
    faults = Counter(case.behaviour(0, at, 0, bad).fault for at in range(1000))
    assert set(faults) == set(Fault)


def test_bodies_are_read_as_the_oracle_reads_them() -> None:
    """Chunked bodies in pieces: the same end, the same payload, and an error where there is one."""
    for seed in range(200):
        rng = Random(seed)
        data = messages.chunked(rng, pattern("x", rng.randrange(500)))
        if seed % 2:
            data = messages.mutated(rng, data)
        body = Body(is_chunked=True)
        used = 0
        for at in range(0, len(data), 7):
            used += body.feed(data[at : at + 7])
        try:
            expected = parse_chunked(data)
        except RefusedError:
            assert not body.is_done  # it may wait for the end of the line
            continue
        assert (body.is_done, body.payload) == (expected.done, expected.payload)
        if expected.done:
            assert used == expected.consumed


def test_streams_hold_the_requests_that_were_put_in() -> None:
    rng = Random(1)
    parts = [messages.request(rng, "good", f"{at}", is_small=True) for at in range(50)]
    stream = b"".join(head + body for head, body in parts)
    found = read_requests(stream)
    tags = [re.search(rb"X-Tag: (\d+)", each.raw) for each in found.requests]
    assert [int(tag[1]) for tag in tags if tag] == list(range(len(found.requests)))
    last = found.requests[-1]
    assert len(found.requests) == 50 or not last.head["keep_alive"]
