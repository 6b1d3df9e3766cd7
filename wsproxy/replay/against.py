"""
Sends the requests of a log to a running proxy, at the log's pace or another, and compares the answers.

Driven by ``cli.replay --against``. Bodies are not in a log, so none is sent; only methods that change nothing are sent unless
that is asked for. Must not run where ``replay`` decides: it begins when the log was read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
import msgspec
from yarl import URL

from wsproxy._fast.logs.request import LoggedRequest
from wsproxy._fast.logs.tries import text_of
from wsproxy._fast.tell.mask import mask_address
from wsproxy.dataplane.explained import ASK_HEADER, SERVER
from wsproxy.replay.summary import SentJson

# RFC 9110 9.2.1: methods that ask for nothing to be changed.
SAFE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
# A log does not tell the method below LogLevel Detail; this one is harmless.
ASSUMED_METHOD = b"GET"
# Requests that wait for their answer at once: enough for any pace of one log, and no flood where the proxy hangs.
MOST_AT_ONCE = 256
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request of the log as it can be sent again."""

    time_us: int
    file: str
    line: int
    method: bytes
    authority: str
    target: bytes
    cookies: tuple[bytes, ...]
    status: int  # of the log; 0 unknown
    server: str


@dataclass(frozen=True, slots=True)
class Sending:
    """How to send: ``speed`` times the log's pace, or ``rate`` a second."""

    url: str
    speed: float = 1.0
    rate: float | None = None
    all_methods: bool = False


class Answered(msgspec.Struct, kw_only=True, tag_field="type", tag="answer"):
    """A request whose answer was another than the log's."""

    file: str
    line: int
    method: str
    uri: str
    what: Literal["status", "server", "failed"]
    logged: str
    answered: str


@dataclass(slots=True)
class Answers:
    """What came back."""

    sent: int = 0
    left_out: int = 0
    same: int = 0
    failed: int = 0
    differences: list[Answered] = field(default_factory=list)

    def counts(self) -> SentJson:
        """As printed; a request that got no answer differs too."""
        differs = len(self.differences) - self.failed
        return SentJson(self.sent, self.left_out, self.same, differs, self.failed)


def sent_request(request: LoggedRequest) -> Iterable[SentRequest]:
    """The request to send; none where the log does not tell the URI."""
    if not request.uri or not request.uri.startswith(b"/"):
        return
    cookies = tuple(request.cookies)
    if not cookies and request.values and request.replayed is not None:
        cookies = tuple(request.replayed.cookies)
    host = text_of(request.host)
    host = f"[{host}]" if ":" in host else host
    default = request.port < 0 or (request.port == 80 and not request.is_secure)
    yield SentRequest(
        request.time_us,
        request.file,
        request.first,
        request.method or ASSUMED_METHOD,
        host if default else f"{host}:{request.port}",
        request.uri,
        cookies,
        request.status_seen,
        request.server_name,
    )


def send_all(how: Sending, requests: list[SentRequest]) -> Answers:
    """Sends them in the order of their times, and waits for all answers. # I/O."""
    return asyncio.run(_send_all(how, sorted(requests, key=lambda each: each.time_us)))


async def _send_all(how: Sending, requests: list[SentRequest]) -> Answers:
    answers = Answers()
    wanted = [each for each in requests if how.all_methods or each.method in SAFE_METHODS]
    answers.left_out = len(requests) - len(wanted)
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(MOST_AT_ONCE)
    # The proxy is the one that the user named; its certificate need not fit the log's host names.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MOST_AT_ONCE, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            auto_decompress=False,
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        began = loop.time()
        for number, each in enumerate(wanted):
            since_s = (each.time_us - wanted[0].time_us) / 1_000_000
            due_s = number / how.rate if how.rate else since_s / how.speed
            await asyncio.sleep(max(0.0, began + due_s - loop.time()))
            await room.acquire()
            task = group.create_task(_send(session, how.url, each, answers))
            task.add_done_callback(lambda _task: room.release())
    return answers


async def _send(
    session: aiohttp.ClientSession, base: str, request: SentRequest, answers: Answers
) -> None:
    url = URL(base.rstrip("/") + request.target.decode("latin-1"), encoded=True)
    headers = {ASK_HEADER: "1"}
    if request.authority:
        headers["Host"] = request.authority
    if request.cookies:
        headers["Cookie"] = "; ".join(text_of(cookie) for cookie in request.cookies)
    answers.sent += 1
    try:
        async with session.request(
            text_of(request.method), url, headers=headers, allow_redirects=False
        ) as response:
            await response.read()
            status, server = response.status, response.headers.get(SERVER, "")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        answers.failed += 1
        _note(answers, request, "failed", str(request.status), f"{type(error).__name__}: {error}")
        return
    if request.status and status != request.status:
        _note(answers, request, "status", str(request.status), str(status))
    elif server and request.server and server != request.server:
        _note(answers, request, "server", request.server, server)
    else:
        answers.same += 1


def _note(
    answers: Answers,
    request: SentRequest,
    what: Literal["status", "server", "failed"],
    logged: str,
    answered: str,
) -> None:
    answers.differences.append(
        Answered(
            file=request.file,
            line=request.line,
            method=text_of(request.method),
            uri=text_of(mask_address(request.target)),
            what=what,
            logged=logged,
            answered=answered,
        )
    )
