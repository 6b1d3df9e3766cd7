"""
The bytes that a server sends for a behaviour: an answer whose body says whose it is, with the fault that was planned.

Driven by ``origins``. Pure.
"""

from __future__ import annotations

from random import Random

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.plans import After, Fault, Framing
from tests.fuzz.traffic.reading import pattern
from tests.fuzz.traffic.records import Arrival

# Faults after which nothing more comes of the answer, wherever they strike.
ENDING = (Fault.ENDS, Fault.RESETS, Fault.SHUTS, Fault.SILENT)
GARBAGE = (
    b"\0\x16\x03\x01\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n Folded: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    b"SSH-2.0-x\r\n",
)
FLOOD = 150


def compose(arrival: Arrival, *, is_upgrade: bool) -> tuple[bytes, bool]:
    """All that is sent, interim answers first; and whether it is all that was to come, but for the connection's end."""
    behaviour = arrival.behaviour
    rng = Random(behaviour.salt)
    interims = behaviour.interims if behaviour.fault is not Fault.FLOOD else (100,) * FLOOD
    before = b"".join(_interim(rng, status) for status in interims)
    if is_upgrade:
        return before + _switching(arrival), True
    if behaviour.fault is Fault.GARBAGE:
        return before + rng.choice(GARBAGE), False
    answer = _answer(arrival, rng)
    if behaviour.fault is Fault.MUTATED:
        return before + _damaged(rng, answer), False
    whole = before + answer
    if behaviour.fault in ENDING:
        most = len(whole) - (
            behaviour.fault is Fault.SILENT
        )  # after a whole answer silence is no fault
        return whole[: int(behaviour.at * most)], False
    return whole, True


def ends_with_connection(arrival: Arrival, wire: bytes) -> bool:
    """Whether only the end of the connection, or nothing at all, can follow ``wire`` of a behaviour without fault."""
    behaviour = arrival.behaviour
    head = wire.rpartition(b"\r\nX-Answer:")[2].partition(b"\r\n\r\n")[0].lower()
    is_framed = b"\r\ncontent-length:" in head or b"\r\ntransfer-encoding:" in head
    has_body = not arrival.request.is_head and behaviour.status not in (204, 304)
    return behaviour.after is not After.KEEPS or (has_body and not is_framed)


def _interim(rng: Random, status: int) -> bytes:
    more = rng.choice((b"", b"", b"Link: </a>\r\n", b"Content-Length: 0\r\n"))
    return b"HTTP/1.1 %d Wait\r\n%b\r\n" % (status, more)


def _switching(arrival: Arrival) -> bytes:
    lines = dict(
        line.lower().split(b": ", 1) for line in arrival.head.split(b"\r\n")[1:] if b": " in line
    )
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\nX-Answer: %b\r\n\r\n"
        % (lines[b"upgrade"], arrival.tag.encode())
    )


def _answer(arrival: Arrival, rng: Random) -> bytes:
    """A final answer, and what stands behind it."""
    behaviour = arrival.behaviour
    fault = behaviour.fault
    status = {Fault.BUSY: 503, Fault.UNASKED_UPGRADE: 101}.get(fault, behaviour.status)
    lines = [
        b"HTTP/1.%d %d Said" % (not behaviour.http10, status),
        b"X-Answer: %b" % arrival.tag.encode(),
    ]
    payload = pattern(arrival.tag, behaviour.size)
    framing = (
        Framing.CLOSE
        if behaviour.http10 and behaviour.framing is Framing.CHUNKED
        else behaviour.framing
    )
    body = payload
    if status in (204, 304):
        body = b""
    elif framing is Framing.CHUNKED or fault is Fault.TWO_LENGTHS:
        lines.append(b"Transfer-Encoding: chunked")
        body = messages.chunked(rng, payload)
    if (framing is Framing.LENGTH and status != 204) or fault is Fault.TWO_LENGTHS:
        lines.append(b"Content-Length: %d" % len(payload))
    if fault is Fault.BAD_CHUNK:
        body = body[: len(body) // 2] + b"\r\nzz\r\n" + body[len(body) // 2 :]
    if fault is Fault.HUGE_HEAD:
        lines.append(b"X-Huge: " + b"h" * 70_000)
    if behaviour.after is After.SAYS_CLOSE:
        lines.append(b"Connection: close")
    elif behaviour.http10:
        lines.append(b"Connection: keep-alive")
    lines += rng.sample(_FIELDS, rng.choice((0, 0, 1, 3)))
    if arrival.request.is_head:
        body = b""
    more = messages.POISON if fault is Fault.MORE else b""
    return b"\r\n".join([*lines, b"", b""]) + body + more


_FIELDS = (
    b"Server: Liberty",
    b"Date: Sat, 21 Nov 2026 12:00:00 GMT",
    b"Connection: x-hop\r\nX-Hop: evil",
    b"Keep-Alive: timeout=9",
    b"$WSEP: ",
    b"X-Wsproxy-Server: evil",
    b"Set-Cookie: a=b; Path=/",
    b"Trailer: X-Sum",
    b"X-High: \xe4\xff",
    b"X-Wide: " + b"w" * 5000,
)


def _damaged(rng: Random, answer: bytes) -> bytes:
    head, end, body = answer.partition(b"\r\n\r\n")
    return messages.mutated(rng, head + end) + body
