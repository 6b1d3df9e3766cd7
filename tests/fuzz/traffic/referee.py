"""
What must hold of every case, whatever clients and servers did.

- A request comes to a server whole, as the oracles write it, in its client's order, and again only where the rules let it.
- What a client gets is the answer to its request in turn: one that a server sent to *this* request, or a page of ours.
- An answer that looks whole is whole; one that was cut looks cut.
- Who does nothing wrong and waits is answered, by the server where the server does nothing wrong either.

Driven by ``run``: ``Referee.arrive`` while a case is played, ``judge`` when it is over. Must not share code with ``wsproxy``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from itertools import pairwise

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.link import End
from tests.fuzz.traffic.plans import NOWHERE, Fault, LanePlan, Temper, lane_of
from tests.fuzz.traffic.reading import Answer, Body, Request
from tests.fuzz.traffic.records import Arrival, Left, Visit
from tests.fuzz.traffic.rewritten import Rules, head_problem, split_private
from tests.fuzz.traffic.truth import Truth, difference, is_own

# A server whose client left within a request hears of it at once; on a busy machine a little later, and never with body_s.
GHOST_S = 5.0
# Beyond half_closed_s: so long after a client left nothing of it may come to a server.
LATE_S = 60.0
# An answer that took less cannot have met ServerIOTimeout of a BAD lane, 2 s.
SURELY_IN_TIME_S = 1.0
# Less than keepalive_s.
IDLE_S = 6.0
# $WSRA of a client that reset its connection before it was accepted: the kernel has its bytes and not its address any more.
UNKNOWN = b"unknown"


class Referee:
    """Knows which requests are on their way, and by which ``rules`` the proxy writes them."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._visits: dict[bytes, Visit] = {}
        self._over: deque[tuple[float, bytes]] = deque()  # visits of which something may come still
        self._serial = 0
        self.complaints: list[str] = []  # that belong to no case

    def begin(self, visit: Visit) -> None:
        """From now on something of this client may come."""
        self._visits[visit.address.encode()] = visit

    def end(self, visit: Visit, now_s: float) -> None:
        """The client has left. What it sent may go to servers for a while: who closes and who waits look the same."""
        self._over.append((now_s + LATE_S, visit.address.encode()))
        while self._over and self._over[0][0] < now_s:
            del self._visits[self._over.popleft()[1]]

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def arrive(
        self, lane: LanePlan, server: str, head: bytes, body: Body, sent_s: float
    ) -> Arrival:
        """Whose request this is, sent not before ``sent_s``; LookupError where nobody sent it, or not now."""
        visit, request = self._whose(lane, head)
        self._serial += 1
        attempt = len(visit.arrivals_of(request))
        behaviour = visit.case.behaviour(visit.number, request.index, attempt, lane)
        arrival = Arrival(self._serial, visit, request, lane, server, behaviour, head, body, sent_s)
        for earlier in visit.arrivals:
            # Of what is not sound the proxy knows more than the server that sent it.
            is_sound = earlier.behaviour.fault is Fault.NONE
            is_over = earlier.is_over or Truth(earlier).is_complete
            if earlier.request is not request and is_sound and not is_over:
                self.complain(
                    f"{visit}\n  out of order: {arrival} came before the end of {earlier}"
                )
        visit.arrivals.append(arrival)
        return arrival

    def _whose(self, lane: LanePlan, head: bytes) -> tuple[Visit, Request]:
        peer = split_private(head)[1].get(b"$wsra", b"")
        if peer != UNKNOWN:
            visits = [self._visits[peer]] if peer in self._visits else []
        else:
            visits = [visit for visit in self._visits.values() if visit.left is Left.GONE]
        problems = []
        for visit in visits:
            # No earlier one than came last.
            last = visit.arrivals[-1].request.index if visit.arrivals else 0
            for request in visit.asked.requests[last:]:
                problem = head_problem(head, request, visit, lane, peer, self._rules)
                if not problem:
                    return visit, request
                problems.append(f"  not {request.index}: {problem[:3000]}")
        msg = "\n".join(
            [f"a request that nobody sent, or not behind the last one: {head[:2000]!r}", *problems, *map(str, visits)]
        )  # fmt: skip
        raise LookupError(msg)

    # --- when it is over ---------------------------------------------------------------------------------------------

    def judge(self, visit: Visit) -> list[str]:
        """What is wrong with a visit that is over."""
        return [
            *(f"request: {text}" for text in self._judge_requests(visit)),
            *(f"repeated: {text}" for text in _judge_repeated(visit)),
            *(f"answer: {text}" for text in _judge_answers(visit)),
            *(f"tunnel: {text}" for text in _judge_tunnel(visit)),
        ]

    def _judge_requests(self, visit: Visit) -> Iterator[str]:
        for arrival in visit.arrivals:
            request = arrival.request
            body = bytes(arrival.body.raw)
            expected = request.forwarded_body(passes_trailers=self._rules.trailers)
            if arrival.body.error:
                yield f"{arrival}: {arrival.body.error}"
            elif arrival.is_whole:
                if not request.is_whole:
                    yield f"{arrival} looks whole, and its client never sent all of it"
                elif body != expected:
                    yield f"{arrival} has another body: {difference(body, expected)}"
            elif not expected.startswith(body):
                yield f"{arrival} has another body: {difference(body, expected)}"
            elif problem := _why_cut(visit, arrival):
                yield f"{arrival} came in part: {problem}"


def _why_cut(visit: Visit, arrival: Arrival) -> str:
    """Why no rest of a request came is clear in most cases; what is wrong in others."""
    if visit.left is not Left.STAYED or visit.plan.leaves_at >= 0:
        late_s = arrival.ended_s - max(visit.left_s, arrival.began_s)
        return (
            f"the server heard {late_s:.1f} s later that its client had left"
            if late_s > GHOST_S
            else ""
        )
    if not arrival.request.is_whole:
        return ""
    # A server that answers before the rest has come, or ends, gets no more of it.
    if arrival.is_all_sent or arrival.sent or arrival.end is not End.OPEN:
        return ""
    if arrival.behaviour.fault is not Fault.NONE or arrival.lane.temper is Temper.BAD:
        return ""
    return "neither its client nor the server ended it"


def _judge_repeated(visit: Visit) -> Iterator[str]:
    for request in visit.asked.requests:
        arrivals = visit.arrivals_of(request)
        for earlier, later in pairwise(arrivals):
            if len(earlier.body.raw) > earlier.lane.post_buffer_bytes:
                yield f"{later}, though {earlier} had got more than PostBufferSize"
            truth = Truth(earlier)
            if (
                truth.is_complete
                and truth.status != 503
                and earlier.is_all_sent
                and earlier.end is not End.CUT
                and earlier.took_s < SURELY_IN_TIME_S
            ):
                yield f"{later}, though {earlier} was answered with {truth.status}"
        if arrivals and len(arrivals) > 2 * arrivals[0].lane.servers + 1:
            yield f"request {request.index} came {len(arrivals)} times"


# --- answers ---------------------------------------------------------------------------------------------------------


def _judge_answers(visit: Visit) -> Iterator[str]:
    """Each answer in turn, and whether one is missing."""
    answers, requests = visit.answers, visit.asked.requests
    if answers.error:
        yield answers.error
    for at, seen in enumerate(answers.found):
        request = requests[at] if at < len(requests) else None
        if request is None and is_own(seen, is_head=False):
            continue
        yield from _judge_answer(visit, request, seen)
    yield from _judge_missing(visit)


def _judge_answer(visit: Visit, request: Request | None, seen: Answer) -> Iterator[str]:
    if b"X-Poison" in seen.head or messages.POISON[-6:] in bytes(seen.body.raw[:6]):
        yield f"what stood behind a server's answer came as an answer: {seen.head!r}"
    if request is None:
        yield f"an answer to no request: {seen.head[:300]!r}"
        return
    arrivals = visit.arrivals_of(request)
    lane = lane_of(request)
    if is_own(seen, is_head=request.is_head):
        yield from _judge_date(visit, seen)
        if problem := _why_own(visit, request, seen, lane):
            yield f"{seen.status} by wsproxy to request {request.index}: {problem}"
        return
    problems = []
    for truth in map(Truth, reversed(arrivals)):
        problem = truth.problem(seen)
        if not problem:
            if b"\r\ndate:" not in truth.head.lower() and not seen.is_tunnel:
                yield from _judge_date(visit, seen)
            if not seen.is_complete and truth.is_complete and (cut := _why_whole(visit, truth)):
                yield f"answer to request {request.index} was cut after {len(seen.body.raw)} bytes: {cut}"
            return
        problems.append(f"not {truth.arrival}: {problem}")
    yield f"to request {request.index} nobody sent {seen.head[:300]!r} ({len(seen.body.raw)} bytes of body):\n    " + "\n    ".join(problems)  # fmt: skip


def _why_own(visit: Visit, request: Request, seen: Answer, lane: LanePlan | None) -> str:
    """Why a sound request of a client that waits was not answered by a server that answers; empty: there is a reason."""
    if seen.status == 408 or not request.is_whole or visit.plan.is_mutated:
        return ""
    if lane is None:
        return _why_fallback(request, seen)
    if lane.temper is Temper.BAD or (lane.may_refuse and seen.status == 503):
        return ""
    return "its servers do nothing wrong"


def _judge_date(visit: Visit, seen: Answer) -> Iterator[str]:
    """Where we write a Date it is that of the answer (RFC 9110 6.6.1), to the second."""
    [date] = seen.values(b"date") or [b""]
    try:
        written_s = parsedate_to_datetime(date.decode()).timestamp()
    except ValueError:
        yield f"no Date in {seen.head!r}"
        return
    if not visit.began_s - 2 <= written_s <= visit.ended_s + 2:
        yield f"the Date is {date!r}: {seen.head[:60]!r}"


def _why_fallback(request: Request, seen: Answer) -> str:
    """The same where no Route matches: a file, or that there is none."""
    if seen.status == 200:
        return "" if messages.FILE.startswith(bytes(seen.body.raw)) else "the file is another"
    return "" if seen.status in (404, 405) else f"nothing is at /{NOWHERE}, that is 404"


def _why_whole(visit: Visit, truth: Truth) -> str:
    """What speaks against a cut of an answer that the server sent whole; empty: it may be."""
    arrival = truth.arrival
    if visit.left is Left.GONE or visit.plan.leaves_at >= 0:
        return ""
    if visit.answers.end in (End.OPEN, End.UNCLEAR):
        return ""
    if not arrival.is_all_sent or arrival.end is End.CUT:
        return ""
    if _was_reset_for(visit, arrival.request.index + 1):
        return ""
    if truth.body.ends_with_connection and visit.left is Left.ENDED and visit.plan.is_tls:
        return ""
    if not arrival.request.is_whole:
        return ""
    return f"{arrival} was whole"


def _was_reset_for(visit: Visit, first: int) -> bool:
    """Whether an answer to request ``first``, or to a later one, was cut: the reset that says so overtakes what is not read yet."""
    if visit.answers.end is not End.CUT:
        return False
    truths = [Truth(each) for each in visit.arrivals if each.request.index >= first]
    return any(each.status and not each.is_complete for each in truths)


def _judge_missing(visit: Visit) -> Iterator[str]:
    answers, requests = visit.answers, visit.asked.requests
    if answers.error or visit.left is Left.GONE or visit.plan.leaves_at >= 0:
        return
    if answers.end is End.UNCLEAR:
        return
    count = len(answers.found)
    if count >= len(requests) or not requests[count].is_whole or visit.sent < requests[count].end:
        return
    if count:
        last = answers.found[-1]
        if (
            not last.is_complete
            or not last.keep_alive
            or last.is_tunnel
            or last.body.ends_with_connection
        ):
            return
    if _was_reset_for(visit, count):
        return
    if count and answers.end is End.ORDERLY and visit.ended_s - visit.began_s > IDLE_S:
        return  # it may have read so slowly that its connection was idle for keepalive_s, and ended as it sent
    lane = lane_of(requests[count])
    if visit.left is Left.ENDED and lane is not None and lane.may_refuse:
        return  # it may have waited in the queue: who ends there has left (docs/settings.md, queue.wait_s)
    yield f"none to request {count}, the client waited: {answers.end.value} after {answers.received} bytes"


# --- tunnels ---------------------------------------------------------------------------------------------------------


def _judge_tunnel(visit: Visit) -> Iterator[str]:
    """Servers hear what the client said, from its beginning; where nobody was cut both hear all."""
    seen = visit.answers.found[-1] if visit.answers.found else None
    for arrival in visit.arrivals:
        if not arrival.is_tunnel:
            continue
        heard, said = bytes(arrival.tunnelled), bytes(visit.tunnel_sent)
        if not said.startswith(heard):
            yield f"{arrival} heard {difference(heard, said)}"
        if seen is None or not seen.is_tunnel:
            continue
        # TLS is never half open: there the first to end ends both directions.
        is_plain = not (arrival.lane.is_tls or visit.plan.is_tls)
        if is_plain and visit.left is Left.ENDED and visit.answers.end is End.ORDERLY:
            if heard != said:
                yield f"{arrival} heard {difference(heard, said)}, and both ended in order"
            if seen.body.raw != arrival.tunnel_sent:
                yield f"{arrival} said {difference(bytes(seen.body.raw), bytes(arrival.tunnel_sent))}"
