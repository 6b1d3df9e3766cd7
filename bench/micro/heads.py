"""
Prints what it costs to read a request's head and write it anew, and to make its line in the access log.

Run by hand: ``python -m bench.micro.heads``. Must not judge: the figures depend on the machine, the ratios matter. They include
the call from Python and the copies that the functions for tests make (about 0.5 us).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import partial

from wsproxy._fast.decide.edits import rewrite_request
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.mask import SessionNames
from wsproxy.config.access_format import DEFAULT, parse_format

CALLS = 1_000
ROOM = 4096
REPEATS = 300  # the fastest counts: anything slower was disturbed

NAMES = SessionNames(frozenset((b"JSESSIONID",)), frozenset((b"jsessionid",)))
FIELDS = (
    b"Host: www.customer-site.example",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    b"Accept-Language: de,en-US;q=0.7,en;q=0.3",
    b"Accept-Encoding: gzip, deflate, br",
    b"Connection: keep-alive",
    b"Referer: https://www.customer-site.example/shop/basket/view.jsp",
    b"Cookie: theme=dark; JSESSIONID=0000QWERTZUIOPASDFGHJKLYX:c1; consent=1",
    b"Upgrade-Insecure-Requests: 1",
    b"Sec-Fetch-Dest: document",
    b"Sec-Fetch-Mode: navigate",
    b"X-Requested-With: XMLHttpRequest",
)


def head(target: bytes, *more: bytes) -> bytes:
    """A browser's head for this target."""
    return b"\r\n".join((b"GET " + target + b" HTTP/1.1", *FIELDS, *more, b"", b""))


def cost_us(call: Callable[[], object]) -> float:
    """Of the fastest run."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - start)
    return best / CALLS * 1e6


def main() -> None:
    """Prints a line for each case."""
    print(f"Python {platform.python_version()}, {platform.machine()}, best of {REPEATS}, us a call")
    plain = head(b"/shop/basket/view.jsp")
    query = head(b"/shop/basket/view.jsp?product=4711&colour=blue&size=XL&page=3")
    session = head(b"/shop/basket/view.jsp;jsessionid=0000QWERTZUIOPASDFGHJKLYX:c1?page=3")
    upload = head(b"/shop/basket/view.jsp", b"Content-Length: 4711", b"Content-Type: text/plain")
    print(
        f"rewrite, browser's head            {cost_us(lambda: rewrite_request(plain, capacity=ROOM)):7.3f}"
    )
    print(
        f"rewrite, with a body               {cost_us(lambda: rewrite_request(upload, capacity=ROOM)):7.3f}"
    )
    access = AccessLog(parse_format(DEFAULT), lambda _lines, _count: None, NAMES)
    for name, data in (("path", plain), ("query", query), ("session in the path", session)):
        print(f"access log's line, {name:15} {cost_us(partial(access.line_of, data)):7.3f}")


if __name__ == "__main__":
    main()
