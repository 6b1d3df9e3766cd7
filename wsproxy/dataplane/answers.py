"""
Answers that wsproxy gives itself: no route, no server, bad request, and the like.

Driven by ``dataplane.slowpath``. Pages are plain, never cached, and say nothing about servers behind.
"""

from __future__ import annotations

import html
from functools import lru_cache
from http import HTTPStatus

from wsproxy._fast.http.dates import date_line
from wsproxy._fast.proxy.downstream import Downstream

# What a person who sees the page can understand; the reason for operators goes to the log.
WORDS = {
    301: "This page has another address.",
    400: "The request could not be understood.",
    403: "You may not see this page.",
    404: "Nothing is configured for this address.",
    405: "This method is not served here.",
    408: "The request did not arrive in time.",
    412: "The page is not the one that the request was meant for.",
    413: "The request is larger than allowed.",
    414: "The address is longer than allowed.",
    416: "The file has no such part.",
    417: "The expectation cannot be met.",
    431: "The header fields are larger than allowed.",
    500: "The application server failed while it handled this request.",
    502: "The application server sent an answer that could not be understood.",
    503: "No application server can take this request now. Please try again.",
    504: "The application server did not answer in time.",
    505: "This version of HTTP is not served here.",
}

# Content-Type and body.
Page = tuple[str, bytes]

# For who comes to a TLS port without TLS: the address says http:// where it should say https://.
PLAIN_ON_TLS = "This port speaks TLS: the address must begin with https://."

ALLOW = "Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n"

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{status} {phrase}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:15vh auto;padding:0 1em;color:#222}}\
h1{{font-size:1.3em}}small{{color:#777}}</style></head>
<body><h1>{status} {phrase}</h1><p>{words}</p><small>wsproxy</small></body></html>
"""


def connection_line(*, keep_alive: bool, http10: bool) -> str:
    """The Connection field that an answer of ours needs; empty where HTTP/1.1 says it all (RFC 9112 9.3)."""
    if not keep_alive:
        return "Connection: close\r\n"
    return "Connection: keep-alive\r\n" if http10 else ""


# A page takes 30 us to write, half of what a client costs that is cut off; thousands of those come at once. What is kept of
# one says nothing about when it was made: the Date is of the answer that it goes into.
@lru_cache(maxsize=128)
def _parts(
    status: int, connection: str, extra: str, words: str, own: Page | None = None
) -> tuple[bytes, bytes, bytes]:
    """A message without its Date: status line, the fields behind the Date, page."""
    phrase = HTTPStatus(status).phrase
    kind, page = own or (
        "text/html; charset=utf-8",
        _PAGE.format(
            status=status,
            phrase=html.escape(phrase),
            words=html.escape(words or WORDS.get(status, phrase)),
        ).encode(),
    )
    if status == 405 and not extra:
        extra = ALLOW
    fields = (
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(page)}\r\n"
        f"Cache-Control: no-store\r\n{extra}{connection}\r\n"
    )
    return f"HTTP/1.1 {status} {phrase}\r\n".encode(), fields.encode(), page


def answer(
    status: int,
    *,
    keep_alive: bool,
    head_only: bool,
    http10: bool = False,
    extra: str = "",
    words: str = "",
    own: Page | None = None,
) -> bytes:
    """
    A whole HTTP/1.1 message of this moment.

    ``extra`` is further field lines, each with CR LF; ``words`` stand there instead of those that the status has, or the
    page of an operator's ``own``.
    """
    connection = connection_line(keep_alive=keep_alive, http10=http10)
    first, fields, page = _parts(status, connection, extra, words, own)
    return b"".join((first, date_line().encode(), fields, b"" if head_only else page))


def plain_request_answer(*, is_head: bool) -> bytes:
    """For a request that came to a TLS port without TLS (nginx: "The plain HTTP request was sent to HTTPS port")."""
    return answer(400, keep_alive=False, head_only=is_head, words=PLAIN_ON_TLS)


def send_methods(downstream: Downstream) -> None:
    """Answers an OPTIONS that may go no further."""
    facts = downstream.facts
    connection = connection_line(keep_alive=facts.keep_alive, http10=facts.http10)
    head = f"HTTP/1.1 200 OK\r\n{date_line()}{ALLOW}Content-Length: 0\r\n{connection}\r\n"
    downstream.write(with_decision(downstream, head.encode()))
    downstream.answered()


def send_health(downstream: Downstream, *, ok: bool) -> None:
    """Answers whoever asks how the proxy is: a status, and a word for people."""
    facts = downstream.facts
    connection = connection_line(keep_alive=facts.keep_alive, http10=facts.http10)
    status, word = ("200 OK", "ok\n") if ok else ("503 Service Unavailable", "draining\n")
    head = (
        f"HTTP/1.1 {status}\r\n{date_line()}Content-Type: text/plain\r\nContent-Length: {len(word)}\r\n"
        f"Cache-Control: no-store\r\n{connection}\r\n"
    )
    downstream.write((head + ("" if facts.head_only else word)).encode())
    downstream.answered()


def with_decision(downstream: Downstream, answer: bytes) -> bytes:
    """An answer of ours, with what was decided where its client asked for that and may know it."""
    if downstream.decision is None:
        return answer
    head, end, body = answer.partition(b"\r\n\r\n")
    lines: bytes = downstream.decision.of_own_answer(downstream)
    return b"".join((head, b"\r\n", lines, b"\r\n" if end else b"", body))


def send_redirect(downstream: Downstream, status: int, location: bytes) -> None:
    """Sends the client elsewhere. May be kept by caches, as its status says: nothing in it forbids that."""
    facts = downstream.facts
    connection = connection_line(keep_alive=facts.keep_alive, http10=facts.http10)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{date_line()}"
        f"Location: {location.decode('ascii')}\r\nContent-Length: 0\r\n{connection}\r\n"
    )
    downstream.write(with_decision(downstream, head.encode()))
    downstream.answered()


def send(
    downstream: Downstream,
    status: int,
    extra: str = "",
    *,
    own: Page | None = None,
    retry_after_s: int = 0,
) -> None:
    """
    Answers the exchange with the page for ``status`` and ends it: ``own``, that of an ``[[edge]]``, or ours.

    ``retry_after_s``: of a 503; 0: what an ``[[edge]]`` says.
    """
    facts = downstream.facts
    if status == HTTPStatus.SERVICE_UNAVAILABLE and (
        seconds := retry_after_s or downstream.retry_after_s
    ):
        extra += f"Retry-After: {seconds}\r\n"
    whole = answer(
        status,
        keep_alive=facts.keep_alive,
        head_only=facts.head_only,
        http10=facts.http10,
        extra=extra,
        own=own or downstream.own_page(status),
    )
    downstream.write(with_decision(downstream, whole))
    downstream.answered()
