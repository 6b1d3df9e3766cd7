"""
What is measured: one frozen row a scenario.

Read by ``__main__``, ``bed`` and ``verify``. A new scenario is one row here and, for a new answer, one location in
``configs/upstream.conf``; its name is also the name of the result file.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
SMALL_BODY_BYTES = 128
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
    One kind of traffic; ``path`` must answer 200 with ``body_bytes`` bytes on each upstream.

    ``closes``: each request comes on a connection of its own; with ``tls`` that is a full handshake each time.
    """

    name: str
    title: str
    path: str
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

    @property
    def scheme(self) -> str:
        """How the client names what it asks for."""
        return "https" if self.tls else "http"

    @property
    def has_full_handshakes(self) -> bool:
        """Whether no TLS session may be resumed: wrk would resume one in all its later connections."""
        return self.tls and self.closes

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
            "/app/small",
            SMALL_BODY_BYTES,
            seconds=SECONDS_OF_THE_QUOTED,
        ),
        Scenario(
            "64k",
            "64-KiB answers, keep-alive on both sides",
            "/app/64k",
            LARGE_BODY_BYTES,
            seconds=SECONDS_OF_THE_QUOTED,
        ),
        Scenario("1m", "1-MiB answers, keep-alive on both sides", "/app/1m", HUGE_BODY_BYTES),
        Scenario(
            "upload",
            "1-MiB uploads, 128-byte answers, keep-alive on both sides",
            "/app/upload",
            SMALL_BODY_BYTES,
            method="POST",
            upload_bytes=1024 * KIB,
        ),
        Scenario(
            "chunked",
            "32-KiB answers in four chunks, keep-alive on both sides",
            "/app/chunked",
            CHUNKED_BODY_BYTES,
            is_chunked=True,
        ),
        Scenario(
            "close",
            "128-byte answers, a new client connection for each request",
            "/app/small",
            SMALL_BODY_BYTES,
            closes=True,
        ),
        Scenario(
            "c256",
            "128-byte answers, keep-alive on both sides, 256 connections",
            "/app/small",
            SMALL_BODY_BYTES,
            connections=256,
        ),
        Scenario(
            "tls",
            "128-byte answers, TLS 1.3 from the client, keep-alive on both sides",
            "/app/small",
            SMALL_BODY_BYTES,
            tls=True,
        ),
        Scenario(
            "tls-new",
            "128-byte answers, a new client connection with a full TLS 1.3 handshake for each request",
            "/app/small",
            SMALL_BODY_BYTES,
            closes=True,
            tls=True,
        ),
    )
}
