"""Lines of the access log that wait for a client: what they may cost."""

from __future__ import annotations

from tests.support.bed import Bed, config_of, server
from tests.support.wire import DeafOrigin
from wsproxy._fast.proxy.http1 import Http1
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy.config.access_format import parse_format

# No Route takes it: the answer is ours, and short.
LONG = b"GET /x HTTP/1.1\r\nHost: h\r\nUser-Agent: " + b"u" * 8000 + b"\r\n\r\n"
MOST_LINES = 131072
HELD = 60_000


def held_of(bed: Bed) -> int:
    """Bytes that the one client has still to take, as the proxy holds them."""
    return sum(each.held for each in bed.engine.streams() if isinstance(each, Http1))


async def test_lines_that_wait_for_a_client_have_a_limit() -> None:
    """Long requests with short answers, sent ahead by a client that reads none: hundreds of lines would wait. The others are written at once."""
    written = 0

    def on_block(_lines: bytes, count: int) -> None:
        nonlocal written
        written += count

    bed = Bed(config_of(server("s", DeafOrigin().port)))
    log = AccessLog(parse_format("%{User-Agent}i %O"), on_block)
    bed.engine.log_access(log)
    async with bed:
        client = await bed.client(receive_buffer=4096)
        rest = b""

        def is_full() -> bool:
            nonlocal rest
            rest = rest or LONG
            rest = rest[client.send_now(rest) :]
            return held_of(bed) > HELD

        await bed.until(is_full)
        log.flush()
        waiting = bed.engine.requests - written
        assert 0 < waiting <= MOST_LINES // 8000
        client.sock.close()
        await bed.until(lambda: bed.engine.open_streams == 0)
        log.flush()
        assert written == bed.engine.requests
