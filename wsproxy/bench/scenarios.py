"""
What is measured: one frozen row a scenario.

Read by ``cli.bench``, ``bed`` and ``verify``. A new scenario is one row here and, for a new answer, one location in
``configs/upstream.conf``; its name is also the name of the result file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KIB = 1024
SMALL_BODY_BYTES = 128
MEDIUM_BODY_BYTES = 16 * KIB
LARGE_BODY_BYTES = 64 * KIB
HUGE_BODY_BYTES = 1024 * KIB
# Four chunks: an app server sends one each time its response buffer is full (8 KiB in Tomcat, 32 KiB in Liberty)
CHUNKED_BODY_BYTES = 32 * KIB

# 3 s keep the whole run below 20 minutes, and the 10-ms grain of CPU time below half a per cent
SECONDS = 3
# the two that README.md quotes
SECONDS_OF_THE_QUOTED = 5


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    One kind of traffic; the upstream's ``answer`` of that name must be 200 with ``body_bytes`` bytes.

    ``closes``: each request comes on a connection of its own; with ``tls`` that is a full handshake each time, unless it ``resumes``.
    ``is_usual``: measured where nobody says what.
    """

    name: str
    title: str
    answer: str
    body_bytes: int
    # 32: what DESIGN.md section 5 used; enough to keep one core of each proxy busy, few enough for flat latency
    connections: int = 32
    seconds: int = SECONDS  # length of a round, unless the caller says otherwise
    method: str = "GET"
    upload_bytes: int = 0
    is_chunked: bool = (
        False  # the answer's framing; the upstream's own, and to be kept by the proxy
    )
    closes: bool = False
    tls: bool = False  # from the client to the proxy; always plain to the upstream
    resumes: bool = False
    logs: bool = False  # an access log
    cookie_bytes: int = 0  # so long a Cookie field
    clone_ids: int = 1  # in the session's cookie; the first one is the owner's
    more_uris: int = 0  # patterns in front of those that are asked for
    mix: tuple[str, ...] = ()  # answers in turn, instead of ``answer`` alone
    is_usual: bool = True
    # wrk, and websocket: the next one when the answer is there. memory: connections that stand. The others: at their times.
    kind: Literal["wrk", "websocket", "memory", "open", "failover", "reload", "log"] = "wrk"
    load: float = 0.0  # of what the weakest proxy can do, if it is "open"
    retry_interval_s: int | None = None  # in place of the file's

    @property
    def has_stubs(self) -> bool:
        """Whether servers are stubs that can be ended, instead of one nginx."""
        return self.kind in ("websocket", "memory", "failover", "reload", "log")

    @property
    def scheme(self) -> str:
        """How the client names what it asks for."""
        return "https" if self.tls else "http"

    @property
    def has_full_handshakes(self) -> bool:
        """Whether no TLS session may be resumed: wrk would resume one in all its later connections."""
        return self.tls and self.closes and not self.resumes

    @property
    def has_session_ids(self) -> bool:
        """Whether TLS sessions have ids: in TLS 1.3 they come with the ticket."""
        return self.tls and not self.has_full_handshakes


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "small",
            "128-byte answers, keep-alive on both sides",
            "small",
            SMALL_BODY_BYTES,
            seconds=SECONDS_OF_THE_QUOTED,
        ),
        Scenario(
            "64k",
            "64-KiB answers, keep-alive on both sides",
            "64k",
            LARGE_BODY_BYTES,
            seconds=SECONDS_OF_THE_QUOTED,
        ),
        Scenario("1m", "1-MiB answers, keep-alive on both sides", "1m", HUGE_BODY_BYTES),
        Scenario(
            "upload",
            "1-MiB uploads, 128-byte answers, keep-alive on both sides",
            "upload",
            SMALL_BODY_BYTES,
            method="POST",
            upload_bytes=1024 * KIB,
        ),
        Scenario(
            "chunked",
            "32-KiB answers in four chunks, keep-alive on both sides",
            "chunked",
            CHUNKED_BODY_BYTES,
            is_chunked=True,
        ),
        Scenario(
            "close",
            "128-byte answers, a new client connection for each request",
            "small",
            SMALL_BODY_BYTES,
            closes=True,
        ),
        Scenario(
            "c256",
            "128-byte answers, keep-alive on both sides, 256 connections",
            "small",
            SMALL_BODY_BYTES,
            connections=256,
        ),
        Scenario(
            "c1",
            "128-byte answers, keep-alive on both sides, one connection",
            "small",
            SMALL_BODY_BYTES,
            connections=1,
            is_usual=False,
        ),
        Scenario(
            "c512",
            "128-byte answers, keep-alive on both sides, 512 connections",
            "small",
            SMALL_BODY_BYTES,
            connections=512,
            is_usual=False,
        ),
        Scenario(
            "c2000",
            "128-byte answers, keep-alive on both sides, 2,000 connections",
            "small",
            SMALL_BODY_BYTES,
            connections=2000,
            is_usual=False,
        ),
        Scenario(
            "16k",
            "16-KiB answers, keep-alive on both sides",
            "16k",
            MEDIUM_BODY_BYTES,
            is_usual=False,
        ),
        Scenario(
            "access-log",
            "128-byte answers, keep-alive on both sides, an access log",
            "small",
            SMALL_BODY_BYTES,
            logs=True,
            is_usual=False,
        ),
        Scenario(
            "cookies",
            "128-byte answers, 4 KiB of cookies, three clone ids in the session's",
            "small",
            SMALL_BODY_BYTES,
            cookie_bytes=4 * KIB,
            clone_ids=3,
            is_usual=False,
        ),
        Scenario(
            "routes-10000",
            "128-byte answers, 10,000 Uris that are not asked for in front of the one that is",
            "small",
            SMALL_BODY_BYTES,
            more_uris=10_000,
            is_usual=False,
        ),
        Scenario(
            "post",
            "4-KiB POST that is kept for another try, 128-byte answers",
            "upload",
            SMALL_BODY_BYTES,
            method="POST",
            upload_bytes=4 * KIB,
            is_usual=False,
        ),
        Scenario(
            "tls-resumed",
            "128-byte answers, a new client connection with a resumed TLS 1.3 session for each request",
            "small",
            SMALL_BODY_BYTES,
            closes=True,
            tls=True,
            resumes=True,
            is_usual=False,
        ),
        Scenario(
            "tls",
            "128-byte answers, TLS 1.3 from the client, keep-alive on both sides",
            "small",
            SMALL_BODY_BYTES,
            tls=True,
        ),
        Scenario(
            "tls-new",
            "128-byte answers, a new client connection with a full TLS 1.3 handshake for each request",
            "small",
            SMALL_BODY_BYTES,
            closes=True,
            tls=True,
        ),
        *(
            Scenario(
                f"tls-{answer}",
                f"{title}, TLS 1.3 from the client, keep-alive on both sides",
                answer,
                size,
                method="POST" if answer == "upload" else "GET",
                upload_bytes=1024 * KIB if answer == "upload" else 0,
                tls=True,
                is_usual=False,
            )
            for answer, title, size in (
                ("64k", "64-KiB answers", LARGE_BODY_BYTES),
                ("1m", "1-MiB answers", HUGE_BODY_BYTES),
                ("upload", "1-MiB uploads, 128-byte answers", SMALL_BODY_BYTES),
            )
        ),
        Scenario(
            "mixed",
            "answers of 128 bytes, 16 and 64 KiB as 7 to 2 to 1",
            "small",
            SMALL_BODY_BYTES,
            mix=(
                "small",
                "small",
                "16k",
                "small",
                "small",
                "64k",
                "small",
                "small",
                "16k",
                "small",
            ),
            is_usual=False,
        ),
        Scenario(
            "websocket",
            "WebSocket: messages of 128 bytes there and back",
            "small",
            SMALL_BODY_BYTES,
            kind="websocket",
            is_usual=False,
        ),
        *(
            Scenario(
                f"memory{'-tls' if tls else ''}",
                f"memory of 1,000 {'TLS ' if tls else ''}connections, idle and awaiting an answer",
                "small",
                SMALL_BODY_BYTES,
                connections=1000,
                kind="memory",
                tls=tls,
                is_usual=False,
            )
            for tls in (False, True)
        ),
        *(
            Scenario(
                f"open{percent}",
                f"128-byte answers, requests at their times at {percent} % of what the weakest can do",
                "small",
                SMALL_BODY_BYTES,
                connections=256,
                seconds=10,
                kind="open",
                load=percent / 100,
                is_usual=False,
            )
            for percent in (50, 80)
        ),
        Scenario(
            "failover",
            "a server is killed in the middle of it, and comes back (RetryInterval 2 s)",
            "small",
            SMALL_BODY_BYTES,
            connections=256,
            seconds=15,
            kind="failover",
            retry_interval_s=2,
            is_usual=False,
        ),
        Scenario(
            "reload",
            "the configuration is read again in the middle of it",
            "small",
            SMALL_BODY_BYTES,
            connections=256,
            seconds=10,
            kind="reload",
            is_usual=False,
        ),
    )
}

# The user's own traffic: asked for with --log.
LOG = Scenario(
    "log",
    "requests of a log at their times, with its service times and sizes",
    "small",
    SMALL_BODY_BYTES,
    connections=512,
    seconds=60,
    kind="log",
    is_usual=False,
)
