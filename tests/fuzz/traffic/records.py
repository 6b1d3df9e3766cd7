"""
What happened: a client's visit and the arrivals of its requests at servers, as ``clients`` and ``origins`` saw them.

Read by ``referee``. Must not judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from tests.fuzz.traffic.link import End
from tests.fuzz.traffic.plans import Behaviour, Case, ClientPlan, LanePlan
from tests.fuzz.traffic.reading import Answers, Body, Request, Requests, read_requests


class Left(Enum):
    """How a client took its leave."""

    STAYED = "stayed until all was there, or until the proxy ended"
    ENDED = "ended its own direction, and read on"
    GONE = "gone, by close or reset"


@dataclass(slots=True)
class Arrival:
    """One request at one server, or a part of it."""

    serial: int
    visit: Visit
    request: Request
    lane: LanePlan
    server: str
    behaviour: Behaviour
    head: bytes
    body: Body
    began_s: float
    sent: bytearray = field(default_factory=bytearray)  # of answers, interim ones too
    is_all_sent: bool = False
    took_s: float = 0.0  # until all was sent
    end: End = End.OPEN  # how the server ended it: CUT where its kernel may have sent a reset
    ended_s: float = 0.0
    is_tunnel: bool = False
    tunnelled: bytearray = field(default_factory=bytearray)  # what came through the tunnel
    tunnel_sent: bytearray = field(default_factory=bytearray)

    @property
    def tag(self) -> str:
        """What its answer's body is made of."""
        return f"a{self.serial}"

    @property
    def is_whole(self) -> bool:
        """Whether all of the request came."""
        return self.body.is_done

    @property
    def is_over(self) -> bool:
        """Whether the next request of the client may come now."""
        return self.ended_s > 0 or (self.is_all_sent and not self.is_tunnel)

    def __str__(self) -> str:
        what = "whole" if self.is_whole else f"{len(self.body.raw)} bytes of body and no more"
        return (
            f"at {self.server} of {self.lane.name}: request {self.request.index}, {what}; it {self.behaviour.fault.name}"
            f" reads={self.behaviour.reads} after={self.behaviour.after.name} framing={self.behaviour.framing.name}"
            f" status={self.behaviour.status}; sent {len(self.sent)} bytes{'' if self.is_all_sent else ', not all'}"
            f" ({bytes(self.sent[:60])!r}), {self.end.value}; took {self.took_s:.3f} s"
        )


@dataclass(slots=True)
class Visit:
    """A client's connection."""

    case: Case
    number: int
    plan: ClientPlan
    address: str  # nobody else's: the servers know it by $WSRA
    asked: Requests
    answers: Answers
    arrivals: list[Arrival] = field(default_factory=list)
    sent: int = 0  # of the stream; what the kernel may not have taken yet counts, too
    left: Left = Left.STAYED
    left_s: float = 0.0
    tunnel_sent: bytearray = field(default_factory=bytearray)
    began_s: float = 0.0  # on the wall's clock, as ended_s
    ended_s: float = 0.0

    @classmethod
    def of(cls, case: Case, number: int, address: str) -> Visit:
        plan = case.clients[number]
        asked = read_requests(plan.stream)
        return cls(case, number, plan, address, asked, Answers(asked.methods))

    def arrivals_of(self, request: Request) -> list[Arrival]:
        return [each for each in self.arrivals if each.request is request]

    def __str__(self) -> str:
        plan = self.plan
        rows = [
            f"client {self.number} at {self.address}: {plan.style}, {'TLS' if plan.is_tls else 'plain'}, {self.left.value};"
            f" sent {self.sent} of {len(plan.stream)} bytes: {len(self.asked.requests)} requests"
            f"{'' if self.asked.refusal is None else f', then {self.asked.refusal.name}'};"
            f" leaves_at={plan.leaves_at} by {plan.leaves_by.name} buffer={plan.receive_buffer}"
        ]
        rows += [
            f"  asked {each.index}: {each.raw[:100]!r} body {len(each.body)}{'' if each.is_whole else ' (not whole)'}"
            for each in self.asked.requests
        ]
        rows += [f"  {each}" for each in self.arrivals]
        rows += [
            f"  answer {at}: {each.head[:100]!r} body {len(each.body.raw)}{'' if each.is_complete else ' (not complete)'}"
            for at, each in enumerate(self.answers.found)
        ]
        rows.append(f"  ended: {self.answers.end.value} {self.answers.error}")
        return "\n".join(rows)
