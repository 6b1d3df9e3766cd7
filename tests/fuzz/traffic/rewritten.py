"""
Whether the head that came to a server is a client's request as the proxy must write it.

Driven by ``referee``. By the oracle that writes heads; must not share code with ``wsproxy``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.fuzz.traffic.plans import LanePlan
from tests.fuzz.traffic.reading import Request
from tests.fuzz.traffic.records import Visit
from tests.support.oracles import rewrite

LOCAL_HOST = b"127.0.0.1"
TLS_LINES = {b"$wscs", b"$wssi", b"$wscc"}
# What may follow a session id, in the path (its line ends with the version) or in a cookie, with damaged quotes, too.
CLONE_IDS = re.compile(
    rb"""(?i)(;jsessionid=[^:;,\s"?/]*):[^;,\s"?/]*|(jsessionid="?[^:;,"]*)[^;,]*"""
)


@dataclass(frozen=True, slots=True)
class Rules:
    """
    Settings that change what servers get.

    ``trailers``: http.trailers. ``takes_lists``: clone ids may be taken away, by what servers did before; whether it is
    right each time is for the tests of affinity.
    """

    trailers: bool = False
    takes_lists: bool = False


def head_problem(
    head: bytes, request: Request, visit: Visit, lane: LanePlan, peer: bytes, rules: Rules
) -> str:
    """Why ``head`` is not this request as the proxy must write it; empty where it is."""
    port = request.head["port"] if request.head["port"] >= 0 else (443 if visit.plan.is_tls else 80)
    expected = rewrite.request(
        request.raw,
        peer=peer,
        local_host=LOCAL_HOST,
        port=port,
        keep_private=False,
        failover=False,
        secure=visit.plan.is_tls,
        trailers=rules.trailers,
    )
    assert expected is not None
    got_open, got_private = split_private(head)
    want_open, want_private = split_private(expected)
    if visit.plan.is_tls:
        got_private = {name: got_private[name] for name in got_private.keys() - TLS_LINES}
    got_private.pop(b"$wsfo", None)  # after a failover, or where a server is down
    if got_private != want_private:
        return f"private fields {got_private}, expected {want_private}"
    if request.head["hops"] > 0:
        # counted down; tests/unit/_fast does that
        got_open, want_open = ([line for line in each if not line.lower().startswith(b"max-forwards")] for each in (got_open, want_open))  # fmt: skip
    if request.head["upgrade"]:
        # passed on or not, by what it names; whether a tunnel may begin so is seen in what follows
        got_open, want_open = ([line for line in each if rewrite.name_of(line) not in (b"connection", b"upgrade")] for each in (got_open, want_open))  # fmt: skip
    if lane.waits_for_continue and b"Expect: 100-continue" not in want_open:
        got_open = [line for line in got_open if line != b"Expect: 100-continue"]
    if rules.takes_lists:
        got_open, want_open = (
            list(map(_without_clone_ids, each)) for each in (got_open, want_open)
        )
    return "" if got_open == want_open else f"{got_open}, expected {want_open}"


def _without_clone_ids(line: bytes) -> bytes:
    return CLONE_IDS.sub(rb"\1\2", line)


def split_private(head: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Lines that are no private fields, and the private fields; of one that is there twice both values."""
    rows = rewrite.lines_of(head)
    private: dict[bytes, bytes] = {}
    for row in rows:
        name, _, value = row.partition(b": ")
        if rewrite.is_private(name.lower()):
            private[name.lower()] = private.get(name.lower(), b"") + value
    return [row for row in rows if not rewrite.is_private(rewrite.name_of(row))], private
