"""What ``[[edge]]`` tables do to requests and answers, on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.origin import Origin as ScriptedOrigin
from tests.support.origin import OriginConnection, Script
from tests.support.wire import Origin, Wire
from wsproxy._fast.decide.maintain import count_maintenance, is_in_maintenance, maintain
from wsproxy.config.model import Config, TrustedProxy
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import parse_settings

OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nServer: app\r\nX-Powered-By: Servlet\r\nContent-Length: 2\r\n\r\nok"
FIELDS = """
    [[edge]]
    headers.set = { "Strict-Transport-Security" = "max-age=1" }
    headers.add = { "X-Extra" = "1" }
    headers.remove = ["server", "X-Powered-By"]
"""
OURS = b"Strict-Transport-Security: max-age=1\r\nX-Extra: 1\r\n"


def settings(text: str, folder: Path = Path("/nowhere")) -> Settings:
    return parse_settings(text, folder / "wsproxy.toml")


def get(
    path: bytes = b"/app/x", host: bytes = b"h", method: bytes = b"GET", more: bytes = b""
) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, path, host, more)


async def head_of(client: Wire, request: bytes) -> bytes:
    """The head of an answer with no body, or whose body is read, too."""
    await client.send(request)
    head = await client.read_head()
    if not request.startswith(b"HEAD") and (length := field(head, b"Content-Length")):
        await client.read_exactly(int(length))
    return head


def field(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        if line.lower().startswith(name.lower() + b":"):
            return line.partition(b":")[2].strip()
    return None


# --- fields of answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 304 Not Modified\r\nDate: now\r\nSERVER: app\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: now\r\nX-Powered-By: a\r\nServer: app\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nDate: now\r\nServer: app\r\nSet-Cookie: JSESSIONID=0000abc:c1\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_answers_of_servers_get_their_fields(answer: bytes) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port, clone_id="c1")), settings(FIELDS)) as bed:
        client = await bed.client()
        await client.send(get(more=b"Cookie: a=b\r\n"))
        wire, _ = await origin.accept_request()
        await wire.send(answer)
        head = await client.read_head()
        kept = [
            line
            for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
            if not line.lower().startswith((b"server", b"x-powered-by", b"transfer"))
        ]
        for line in kept:
            assert line in head
        assert OURS in head
        assert field(head, b"Server") is None
        assert field(head, b"X-Powered-By") is None
        assert (field(head, b"Transfer-Encoding") is not None) == (b"chunked" in answer)


async def test_an_upgrade_gets_them_and_what_is_no_final_answer_does_not() -> None:
    """Of the heads of one exchange the last one has them: 101 is one, 100 and 103 are none."""
    origin = Origin()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    async with Bed(config_of(server("s", origin.port)), settings(FIELDS)) as bed:
        client = await bed.client()
        await client.send(get(more=upgrade))
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nServer: app\r\n\r\n")
        assert await client.read_head() == b"HTTP/1.1 103 Early Hints\r\nServer: app\r\n\r\n"
        await wire.send(
            b"HTTP/1.1 101 Switching Protocols\r\nServer: app\r\n" + upgrade + b"\r\nframe"
        )
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 101")
        assert OURS in head
        assert field(head, b"Upgrade") == b"websocket"
        assert field(head, b"Server") is None
        assert await client.read_exactly(5) == b"frame"


async def test_our_own_answers_get_them_and_so_does_what_could_not_be_read() -> None:
    async with Bed(config_of(server("s", 1)), settings(FIELDS)) as bed:
        client = await bed.client()
        assert OURS in await head_of(client, get(b"/nowhere"))
        assert OURS in await head_of(client, get(b"/nowhere", method=b"HEAD"))
        refused = await head_of(client, b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 400")
        assert OURS in refused


async def test_fields_follow_a_reload_and_go_with_the_last_table() -> None:
    """On one connection: requests go by the configuration that holds when they begin."""
    async with Bed(config_of(server("s", 1)), settings(FIELDS)) as bed:
        client = await bed.client()
        assert field(await head_of(client, get(b"/nowhere")), b"X-Extra") == b"1"
        bed.take(bed.plan.config, settings('[[edge]]\nheaders.set = { "X-Extra" = "2" }'))
        assert field(await head_of(client, get(b"/nowhere")), b"X-Extra") == b"2"
        bed.take(bed.plan.config, Settings())
        assert field(await head_of(client, get(b"/nowhere")), b"X-Extra") is None


# --- redirect, allow, deny ----------------------------------------------------------------------------------------------


async def test_redirect_keeps_the_connection_and_asks_no_server() -> None:
    """Also one after the other in one segment, and with a body behind."""
    text = (
        FIELDS
        + '[[edge]]\nhosts = ["a"]\nredirect = "https"\n[[edge]]\nredirect = { path = "/app/", status = 302 }\npaths = ["/"]'
    )
    async with Bed(config_of(server("s", 1)), settings(text)) as bed:
        client = await bed.client()
        await client.send(get(b"/app/x?y=1", b"a:8080") + get(b"/", b"b:8080"))
        first, second = await client.read_head(), await client.read_head()
        assert first.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n")
        assert field(first, b"Location") == b"https://a/app/x?y=1"
        assert OURS in first
        assert second.startswith(b"HTTP/1.1 302 Found\r\n")
        assert field(second, b"Location") == b"http://b:8080/app/"
        posted = get(b"/app/x", b"a", b"POST", b"Content-Length: 3\r\n") + b"abc"
        head = await head_of(client, posted)
        assert field(head, b"Location") == b"https://a/app/x"
        assert bed.server_state(0)["total"] == 0


async def test_redirect_without_a_host_is_400() -> None:
    async with Bed(config_of(server("s", 1)), settings('[[edge]]\nredirect = "https"')) as bed:
        client = await bed.client()
        assert (await head_of(client, b"GET /app/x HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_denied_is_403_before_the_body_is_here() -> None:
    text = '[[edge]]\npaths = ["/app/admin/*"]\nallow = ["192.0.2.0/24"]'
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), settings(text)) as bed:
        client = await bed.client()
        await client.send(get(b"/app/%61dmin/x", method=b"POST", more=b"Content-Length: 10\r\n"))
        assert (await client.read_head()).startswith(b"HTTP/1.1 403 Forbidden\r\n")
        other = await bed.client()
        await other.send(get(b"/app/x"))
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert (await other.read_answer())[0] == 200
        assert bed.server_state(0)["total"] == 1


async def test_address_is_the_one_that_a_trusted_proxy_names() -> None:
    """And nobody else's word counts."""
    text = '[[edge]]\ndeny = ["192.0.2.0/24", "2001:db8::/32"]'
    plain = config_of(server("s", 1))
    trusting = replace(
        plain, trusted_proxy_enable=True, trusted_proxies=(TrustedProxy("127.0.0.1"),)
    )
    expected: list[tuple[Config, bytes, int]] = [
        (plain, b"192.0.2.1", 404),
        (trusting, b"192.0.2.1", 403),
        (trusting, b"::ffff:192.0.2.1", 403),
        (trusting, b"2001:db8::1", 403),
        (trusting, b"192.0.2.1, 198.51.100.1", 404),
        (trusting, b"198.51.100.1, 192.0.2.1", 403),
    ]
    async with Bed(plain, settings(text)) as bed:
        for config, said, status in expected:
            bed.take(config)
            client = await bed.client()
            head = await head_of(client, get(b"/no", more=b"X-Forwarded-For: %b\r\n" % said))
            assert int(head[9:12]) == status, said


async def test_redirect_to_https_believes_a_trusted_proxy() -> None:
    """Behind a balancer that ends TLS the client would be sent in circles."""
    config = replace(
        config_of(server("s", 1)),
        trusted_proxy_enable=True,
        trusted_proxies=(TrustedProxy("127.0.0.1"),),
    )
    async with Bed(config, settings('[[edge]]\nredirect = "https"')) as bed:
        client = await bed.client()
        assert (await head_of(client, get(b"/no", more=b"X-Forwarded-Proto: http\r\n")))[
            9:12
        ] == b"308"
        assert (await head_of(client, get(b"/no", more=b"X-Forwarded-Proto: https\r\n")))[
            9:12
        ] == b"404"


# --- pages --------------------------------------------------------------------------------------------------------------


async def test_our_own_errors_have_the_page_of_the_first_table_that_has_one(tmp_path: Path) -> None:
    (tmp_path / "sorry.html").write_text("<p>sorry</p>")
    (tmp_path / "gone.txt").write_text("gone")
    text = """
        [[edge]]
        paths = ["/gone/*"]
        error_pages = { 404 = "gone.txt" }
        [[edge]]
        error_pages = { 404 = "sorry.html", 503 = "sorry.html" }
        retry_after_s = 30
    """
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), settings(text, tmp_path)) as bed:
        client = await bed.client()
        head = await head_of(client, get(b"/no"))
        assert field(head, b"Content-Type") == b"text/html; charset=utf-8"
        assert field(head, b"Cache-Control") == b"no-store"
        await client.send(get(b"/gone/x"))
        assert await client.read_answer() == (404, b"gone")
        head = await head_of(client, get(b"/gone/x", method=b"HEAD"))
        assert field(head, b"Content-Length") == b"4"
        await client.send(get(b"/app/x"))  # an error of a server stays its own
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 404 Not Found\r\nDate: now\r\nContent-Length: 3\r\n\r\nown")
        assert await client.read_answer() == (404, b"own")
        (tmp_path / "gone.txt").write_text("changed")
        await client.send(get(b"/gone/x"))
        assert await client.read_answer() == (404, b"gone")  # read with the configuration
        bed.take(bed.plan.config, settings(text, tmp_path))
        await client.send(get(b"/gone/x"))
        assert await client.read_answer() == (404, b"changed")


async def test_503_has_its_page_and_retry_after(tmp_path: Path) -> None:
    (tmp_path / "sorry.html").write_text("<p>sorry</p>")
    text = '[[edge]]\nerror_pages = { 503 = "sorry.html" }\nretry_after_s = 30'
    gone = Origin()
    gone.close()
    async with Bed(config_of(server("s", gone.port)), settings(text, tmp_path)) as bed:
        client = await bed.client()
        await client.send(get())
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 503")
        assert field(head, b"Retry-After") == b"30"
        assert await client.read_exactly(12) == b"<p>sorry</p>"


# --- maintenance --------------------------------------------------------------------------------------------------------


async def test_maintenance_of_a_setting_has_its_page_for_all_but_some(tmp_path: Path) -> None:
    (tmp_path / "m.html").write_text("<p>back soon</p>")
    text = """
        [[edge]]
        hosts = ["open"]
        maintenance_on = true
        maintenance_allow = ["127.0.0.1"]
        [[edge]]
        clusters = ["cluster"]
        maintenance = "m.html"
        maintenance_on = true
        retry_after_s = 600
    """
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), settings(text, tmp_path)) as bed:
        client = await bed.client()
        await client.send(get())
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 503")
        assert field(head, b"Retry-After") == b"600"
        assert await client.read_exactly(16) == b"<p>back soon</p>"
        assert (await head_of(client, get(b"/no")))[9:12] == b"404"  # of no cluster
        await client.send(get(host=b"open"))
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200
        assert bed.state.totals().unserved == 0  # nothing failed: no reload is undone for it


async def test_word_of_maintenance_holds_at_once_and_needs_no_table() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        cluster = bed.plan.clusters[0]
        assert cluster is not None
        client = await bed.client()
        assert maintain(bed.state, cluster, True, who=b"me", why=b"release")
        assert not maintain(bed.state, cluster, True, who=b"other", why=b"release")
        assert (await head_of(client, get()))[9:12] == b"503"
        assert (await head_of(client, get(b"/no")))[9:12] == b"404"
        assert is_in_maintenance(bed.state, cluster)
        assert not is_in_maintenance(bed.state, None)
        assert maintain(bed.state, None, True)
        assert (await head_of(client, get(b"/no")))[9:12] == b"503"
        assert maintain(bed.state, None, False)
        assert maintain(bed.state, cluster, False)
        assert count_maintenance(bed.state, [cluster]) == 0
        await client.send(get())
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert (await client.read_answer())[0] == 200
        kinds = [change.kind.name for change in bed.state.changes()]
        assert kinds == ["MAINTENANCE_ON"] * 2 + ["MAINTENANCE_OFF"] * 2


async def test_page_and_exceptions_of_a_word_are_the_tables(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("later")
    text = '[[edge]]\nhosts = ["h"]\nmaintenance = "m.txt"\n[[edge]]\nmaintenance_allow = ["127.0.0.0/8"]'
    async with Bed(config_of(server("s", 1)), settings(text, tmp_path)) as bed:
        client = await bed.client()
        assert maintain(bed.state, None, True)
        await client.send(get(b"/no"))
        assert await client.read_answer() == (503, b"later")
        assert (await head_of(client, get(b"/no", b"other")))[9:12] == b"404"


PAGES = """[[edge]]
paths = ["/app/api/*"]
error_pages = { 500 = "api.txt" }
[[edge]]
error_pages = { 404 = "gone.txt", 410 = "gone.txt", 500 = "sorry.txt", 503 = "sorry.txt" }
intercept = [404, 410, 500]
[[edge]]
headers.set = { "X-Edge" = "1" }
"""


def answer_of(status: int, body: bytes = b"secret trace", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nSet-Cookie: a=b\r\nX-Powered-By: it\r\n{more}\r\n"
    return head.encode() + body


@asynccontextmanager
async def intercepting(tmp_path: Path, script: Script, more: str = "") -> AsyncIterator[Bed]:
    for name in ("api", "gone", "sorry"):
        (tmp_path / f"{name}.txt").write_text(name)
    async with AsyncExitStack() as stack:
        origin = stack.enter_context(closing(ScriptedOrigin()))
        await stack.enter_async_context(origin.serving(script))
        made = Bed(config_of(server("s", origin.port)), settings(PAGES + more, tmp_path))
        yield await stack.enter_async_context(made)


@pytest.mark.parametrize(
    ("status", "page"), [(404, b"gone"), (410, b"gone"), (500, b"sorry"), (403, b""), (501, b""), (200, b"")]
)  # fmt: skip
async def test_error_of_a_server_is_replaced_where_its_status_is_named(
    tmp_path: Path, status: int, page: bytes
) -> None:
    """Status and page, and nothing else of the answer; the connections on both sides are used again."""

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.answer(answer_of(status))

    async with intercepting(tmp_path, script) as bed:
        client = await bed.client()
        for _ in range(3):
            await client.send(get())
            head = await client.read_head()
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert field(head, b"X-Edge") == b"1"
            if page:
                assert b"X-Powered-By" not in head
                assert b"Set-Cookie" not in head
                assert field(head, b"Content-Type") == b"text/plain; charset=utf-8"
                assert field(head, b"Cache-Control") == b"no-store"
            body = await client.read_exactly(int(field(head, b"Content-Length") or b"0"))
            assert body == (page or b"secret trace")


async def test_page_of_another_table_is_for_our_own_errors_alone(tmp_path: Path) -> None:
    """The first table that fits has a page for 500, and intercepts nothing: the second one does."""

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.answer(answer_of(500))

    async with intercepting(tmp_path, script) as bed:
        client = await bed.client()
        await client.send(get(b"/app/api/x"))
        assert await client.read_answer() == (500, b"sorry")


async def test_head_gets_the_fields_of_the_page(tmp_path: Path) -> None:
    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.head()
            await connection.send(b"HTTP/1.1 404 X\r\nContent-Length: 12\r\n\r\n")

    async with intercepting(tmp_path, script) as bed:
        client = await bed.client()
        for _ in range(2):
            await client.send(b"HEAD /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
            head = await client.read_head()
            assert head.startswith(b"HTTP/1.1 404 ")
            assert field(head, b"Content-Length") == b"4"


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100000\r\n\r\nsome", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Connection: close\r\n\r\nuntil it ends",
    ],
)  # fmt: skip
async def test_page_does_not_wait_for_the_rest_of_the_server_s(tmp_path: Path, rest: bytes) -> None:
    """That may be long, or never come; the next request goes over another connection."""

    async def script(connection: OriginConnection) -> None:
        await connection.answer(b"HTTP/1.1 500 X\r\n" + rest)
        await connection.end()

    async with intercepting(tmp_path, script) as bed:
        client = await bed.client()
        for _ in range(2):
            await client.send(get())
            assert await client.read_answer() == (500, b"sorry")


async def test_page_for_an_upload_that_the_server_refuses_early(tmp_path: Path) -> None:
    """The client has not sent all of it; it hears why all the same, and its connection ends."""

    async def script(connection: OriginConnection) -> None:
        await connection.head()
        await connection.send(answer_of(500))
        await connection.end()

    async with intercepting(tmp_path, script) as bed:
        client = await bed.client()
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc")
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 500 ")
        assert field(head, b"Connection") == b"close"
        assert await client.read_exactly(5) == b"sorry"


async def test_error_that_another_server_is_asked_after_is_none(tmp_path: Path) -> None:
    """[retry] decides first; the page is for the answer that is left."""
    seen = 0

    async def script(connection: OriginConnection) -> None:
        nonlocal seen
        while True:
            await connection.request()
            seen += 1
            await connection.send(answer_of(503) if seen == 1 else answer_of(200, b"ok"))

    text = PAGES.replace("[404, 410, 500]", "[404, 410, 503]")
    for name in ("api", "gone", "sorry"):
        (tmp_path / f"{name}.txt").write_text(name)
    with closing(ScriptedOrigin()) as one, closing(ScriptedOrigin()) as two:
        config = config_of(server("s", one.port), server("t", two.port))
        async with (
            one.serving(script),
            two.serving(script),
            Bed(config, settings(text, tmp_path)) as bed,
        ):
            client = await bed.client()
            await client.send(get())
            assert await client.read_answer() == (200, b"ok")
