"""Clone lists through the real proxy: completed in answers, followed back after a failover, taken away for Tomcat and Jetty."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.client import Answer, Client, ask, get, request
from tests.support.origin import OK, OriginConnection, Script, answering, field, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_CACHE = b'no-cache="Set-Cookie"'
ADDED = b"; Path=/; HttpOnly"
PLUS = 'CloneSeparatorChange="true"'


async def hang_up(connection: OriginConnection) -> None:
    """The script of a server that reads a request and closes."""
    await connection.request()


def setting(*cookies: str, status: str = "200 OK", framing: str = "Content-Length: 2") -> bytes:
    """An answer of ``ok`` with these Set-Cookie values."""
    lines = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in cookies)
    body = "2\r\nok\r\n0\r\n\r\n" if framing.startswith("Transfer") else "ok"
    return f"HTTP/1.1 {status}\r\n{lines}{framing}\r\nX-After: 1\r\n\r\n{body}".encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["1w", "2w"])
async def proxy(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Proxy, dict[str, Lane]]]:
    """Pairs of servers c0 and c1 that share nothing but the process."""
    lanes = {
        "colon": lane("colon", 2),
        "plus": lane("plus", 2, PLUS),
        "strip": lane("strip", 2),
        "strip_plus": lane("strip_plus", 2, PLUS),
        "bare": lane("bare", 1),
        "named": lane("named", 2),
        "moved": lane("moved", 2),
    }
    lanes["named"].uri_attributes = 'AffinityCookie="SHOP" AffinityURLIdentifier="shopid"'
    settings = '[affinity]\nstrip_clone_ids = ["strip", "strip_plus"]\n'
    async with running_proxy([*lanes.values()], workers=request.param, settings=settings) as it:
        yield it, lanes


Running = tuple[Proxy, dict[str, Lane]]


async def asked_at_c0(running: Running, name: str, reply: bytes, *, version: str = "1.1", method: str = "GET", cookie: str = "JSESSIONID") -> Answer:  # fmt: skip
    """The answer of server s0, to which affinity leads."""
    it, lanes = running
    separator = "+" if "plus" in name else ":"
    line = f"Cookie: {cookie}=0000x{separator}c0"
    async with lanes[name].members[0].origin.serving(answering(reply)):
        message = request(method, f"/{name}/x", line, version=version)
        return await ask(it.port, message, head_only=method == "HEAD")


@pytest.mark.parametrize(
    ("cookie", "completed"),
    [
        ("JSESSIONID=0000abc; Path=/shop; HttpOnly", "JSESSIONID=0000abc:c0; Path=/shop; HttpOnly"),
        ("JSESSIONID=0000abc", "JSESSIONID=0000abc:c0"),
        ('JSESSIONID="0000abc"; Path=/', 'JSESSIONID="0000abc:c0"; Path=/'),
        ("JSESSIONID=0000abc:c1", "JSESSIONID=0000abc:c1:c0"),
        ("JSESSIONID=0000abc%3Ac1", "JSESSIONID=0000abc%3Ac1%3Ac0"),
        ("JSESSIONID=0000abc:", "JSESSIONID=0000abc:c0"),
        ("JSESSIONID=0000abc:c00;Secure", "JSESSIONID=0000abc:c00:c0;Secure"),
        # Liberty and WebSphere did it themselves.
        ("JSESSIONID=0000abc:c0; Path=/", None),
        ("JSESSIONID=0002abc:c1:c0; Path=/", None),
        ("JSESSIONID=0002abc%3ac0", None),
        # deleted
        ("JSESSIONID=; Path=/; Max-Age=0", None),
        ('JSESSIONID=""; Path=/', None),
        ("JSESSIONID=gone; Max-Age=0", None),
        ("JSESSIONID=gone; max-age=-1", None),
        # other cookies
        ("jsessionid=0000abc", None),
        ("JSESSIONIDX=0000abc", None),
        ("a=JSESSIONID=0000abc", None),
        ("JSESSIONID", None),
    ],
)
async def test_cookie_that_a_server_sets(proxy: Running, cookie: str, completed: str | None) -> None:  # fmt: skip
    """Its clone id is there in the end, once; nothing else of the answer changes."""
    answer = await asked_at_c0(proxy, "colon", setting(cookie))
    assert answer.all(b"set-cookie") == [(completed or cookie).encode()]
    assert [name for name, _ in answer.fields] == [
        b"set-cookie",
        b"content-length",
        b"x-after",
        b"date",
    ]
    assert answer.body == b"ok"


@pytest.mark.parametrize(
    ("cookie", "completed"),
    [
        ("JSESSIONID=0000abc", "JSESSIONID=0000abc+c0"),
        ("JSESSIONID=0000abc+c1", "JSESSIONID=0000abc+c1+c0"),
        ("JSESSIONID=0000abc%2bc1", "JSESSIONID=0000abc%2bc1%2bc0"),
        ("JSESSIONID=0000abc+c0", "JSESSIONID=0000abc+c0"),
        ("JSESSIONID=0000a:c0", "JSESSIONID=0000a:c0+c0"),
    ],
)
async def test_separator_is_the_clusters(proxy: Running, cookie: str, completed: str) -> None:
    """CloneSeparatorChange."""
    answer = await asked_at_c0(proxy, "plus", setting(cookie))
    assert answer.all(b"set-cookie") == [completed.encode()]


async def test_cookie_of_the_routes_name(proxy: Running) -> None:
    """AffinityCookie of the Uri that decided; several fields of the name each."""
    reply = setting("JSESSIONID=1", "SHOP=2", "x=3", "SHOP=4:c0", "SHOP=5; Path=/a")
    answer = await asked_at_c0(proxy, "named", reply, cookie="SHOP")
    assert answer.all(b"set-cookie") == [b"JSESSIONID=1", b"SHOP=2:c0", b"x=3", b"SHOP=4:c0", b"SHOP=5:c0; Path=/a"]  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "method", "version"),
    [
        (setting("JSESSIONID=0000abc"), "GET", "1.0"),
        (setting("JSESSIONID=0000abc", framing="Transfer-Encoding: chunked"), "GET", "1.1"),
        (setting("JSESSIONID=0000abc", framing="Transfer-Encoding: chunked"), "GET", "1.0"),
        (setting("JSESSIONID=0000abc", status="500 Oh"), "GET", "1.1"),
        (setting("JSESSIONID=0000abc").removesuffix(b"ok"), "HEAD", "1.1"),
        (b"HTTP/1.1 304 Not Modified\r\nSet-Cookie: JSESSIONID=0000abc\r\n\r\n", "GET", "1.1"),
        (b"HTTP/1.1 103 Early\r\nSet-Cookie: JSESSIONID=early\r\n\r\n"
         + setting("JSESSIONID=0000abc"), "GET", "1.1"),
    ],
    ids=["1.0", "chunked", "chunked-1.0", "500", "HEAD", "304", "interim"],
)  # fmt: skip
async def test_every_kind_of_answer(proxy: Running, reply: bytes, method: str, version: str) -> None:  # fmt: skip
    """Whatever the framing, the cookie of the final head is completed and the body comes through."""
    answer = await asked_at_c0(proxy, "colon", reply, method=method, version=version)
    assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc:c0"]
    assert answer.body == (b"" if method == "HEAD" or answer.status == 304 else b"ok")


async def test_interim_answer_is_not_touched(proxy: Running) -> None:
    """A 103 goes on as it came."""
    it, lanes = proxy
    reply = b"HTTP/1.1 103 Early\r\nSet-Cookie: JSESSIONID=early\r\n\r\n" + OK
    origin = lanes["colon"].origin
    async with origin.serving(answering(reply)), await Client.connect(it.port) as client:
        await client.send(get("/colon/x", "Cookie: JSESSIONID=0000x:c0"))
        assert (await client.head()).all(b"set-cookie") == [b"JSESSIONID=early"]
        assert (await client.answer()).all(b"set-cookie") == []


async def test_list_does_not_grow_without_end(proxy: Running) -> None:
    """1024 characters at most."""
    for length, grows in ((1021, True), (1022, False)):
        cookie = "JSESSIONID=" + "x" * length
        answer = await asked_at_c0(proxy, "colon", setting(cookie))
        assert answer.all(b"set-cookie") == [(cookie + ":c0" * grows).encode()]


async def test_server_without_clone_id_adds_nothing(proxy: Running) -> None:
    """Nor a cluster in which no server has one."""
    answer = await asked_at_c0(proxy, "bare", setting("JSESSIONID=0000abc"))
    assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc"]


async def moved(running: Running, *lines: str, reply: bytes = OK, path: str = "/moved/x", method: str = "GET") -> Answer:  # fmt: skip
    """The answer of s1 to a request whose session is at s0, which hangs up."""
    it, lanes = running

    first, second = (member.origin for member in lanes["moved"].members)
    async with first.serving(hang_up), second.serving(answering(reply)):
        return await ask(it.port, request(method, path, *lines), head_only=method == "HEAD")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("0000abc:c0", b"0000abc:c0:c1"),
        ('"0000abc:c0"', b"0000abc:c0:c1"),
        ("0000abc%3Ac0", b"0000abc%3Ac0%3Ac1"),
        ("0000abc:c0:", b"0000abc:c0:c1"),
        ("0000abc:c0:gone", b"0000abc:c0:gone:c1"),
    ],
)
async def test_moved_session_is_told_to_the_client(proxy: Running, value: str, sent: bytes) -> None:
    """s1 answers without Set-Cookie: the cookie comes from the proxy, the original server first in its list."""
    answer = await moved(proxy, f"Cookie: a=b; JSESSIONID={value}")
    assert answer.all(b"set-cookie") == [b"JSESSIONID=" + sent + ADDED]
    assert answer.get(b"cache-control") == NO_CACHE
    assert answer.body == b"ok"


@pytest.mark.parametrize(
    ("lines", "path", "reply"),
    [
        (["Cookie: JSESSIONID=0000abc:c0"], "/moved/x", setting("JSESSIONID=0001abc:c0:c1")),
        (["Cookie: JSESSIONID=0000abc:c0"], "/moved/x", setting("JSESSIONID=; Max-Age=0")),
        (["Cookie: JSESSIONID=0000abc:c0"], "/moved/x", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (["Cookie: JSESSIONID=0000abc:c0"], "/moved/x", setting(status="500 Oh")),
        (["Cookie: JSESSIONID=0000a\\b:c0"], "/moved/x", OK),
        (["Cookie: JSESSIONID=0000a,b:c0"], "/moved/x", OK),
        (["Cookie: JSESSIONID=0000a b:c0"], "/moved/x", OK),
        (["Cookie: JSESSIONID=0000\xe9:c0"], "/moved/x", OK),
        (["Cookie: JSESSIONID=0000a\"b:c0"], "/moved/x", OK),
        (["Cookie: JSESSIONID=" + "x" * 1020 + ":c0"], "/moved/x", OK),
        (["Cookie: SSLJSESSION=0000SESSIONMANAGEMENTAFFINI:c0"], "/moved/x", OK),
        ([], "/moved/x;jsessionid=0000abc:c0", OK),
    ],
    ids=["it did", "it ended it", "304", "500", "backslash", "comma", "blank", "latin", "quote", "long", "ssl", "path"],
)  # fmt: skip
async def test_moved_session_that_is_not_told(proxy: Running, lines: list[str], path: str, reply: bytes) -> None:  # fmt: skip
    """The server did it, or did not take it, or the client's bytes may not go out in a field of ours."""
    answer = await moved(proxy, *lines, path=path, reply=reply)
    own = [value for name, value in answer.fields if ADDED in value or value == NO_CACHE]
    assert own == []


async def test_moved_session_of_a_head_request(proxy: Running) -> None:
    """The same head as for GET."""
    answer = await moved(proxy, "Cookie: JSESSIONID=0000abc:c0", method="HEAD")
    assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc:c0:c1" + ADDED]


async def test_next_request_of_the_connection_is_as_before(proxy: Running) -> None:
    """What was kept of one exchange is not sent with the next."""
    it, lanes = proxy
    first, second = (member.origin for member in lanes["moved"].members)

    async with (
        first.serving(hang_up),
        second.serving(keep_answering),
        await Client.connect(it.port) as client,
    ):
        answer = await client.ask(get("/moved/x", "Cookie: JSESSIONID=0000abc:c0"))
        assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc:c0:c1" + ADDED]
        for line in ("Cookie: JSESSIONID=0000abc:c1", "X-A: b"):
            answer = await client.ask(request("POST", "/moved/x", line, body=b""))
            assert answer.all(b"set-cookie") == []


async def test_session_moves_and_comes_back() -> None:
    """s0 dies, s1 takes the session over and the client learns it; when s0 is back it is asked again: it stands first."""
    pair = lane("pair", 2, attributes='RetryInterval="1"')
    first, second = (member.origin for member in pair.members)
    async with running_proxy([pair]) as proxy:
        async with first.serving(answering(setting("JSESSIONID=0000abc; Path=/"))):
            answer = await ask(proxy.port, get("/pair/x", "Cookie: JSESSIONID=0:c0"))
        [cookie] = answer.all(b"set-cookie")
        assert cookie == b"JSESSIONID=0000abc:c0; Path=/"
        first.refuse()
        value = cookie.partition(b";")[0].decode()
        async with second.serving(keep_answering):
            answer = await ask(proxy.port, get("/pair/x", f"Cookie: {value}"))
            assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc:c0:c1" + ADDED]
            value = answer.all(b"set-cookie")[0].partition(b";")[0].decode()
            answer = await ask(proxy.port, get("/pair/x", f"Cookie: {value}"))
            assert answer.all(b"set-cookie") == []
            first.reopen()
            served = len(first.requests)
            async with first.serving(keep_answering), asyncio.timeout(WAIT_S):
                while len(first.requests) == served:  # until RetryInterval is over
                    answer = await ask(proxy.port, get("/pair/x", f"Cookie: {value}"))
                    assert answer.status == 200
                    assert answer.all(b"set-cookie") == []


async def test_switch_turns_completion_off() -> None:
    """affinity.complete_clone_ids = false: answers go on as they came."""
    pair = lane("pair", 2)
    settings = "[affinity]\ncomplete_clone_ids = false\n"
    async with running_proxy([pair], settings=settings) as proxy:
        pair.members[0].origin.refuse()
        async with pair.members[1].origin.serving(answering(setting("JSESSIONID=0000abc"))):
            answer = await ask(proxy.port, get("/pair/x", "Cookie: JSESSIONID=0000x:c0"))
            assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc"]


@pytest.mark.parametrize(
    ("name", "path", "lines", "seen_path", "seen"),
    [
        ("strip", "/strip/x", ["Cookie: a=b:c; JSESSIONID=ABC.c0:c0:c1; d=e"], "/strip/x",
         [b"a=b:c; JSESSIONID=ABC.c0; d=e"]),
        ("strip", "/strip/x", ['cookie:JSESSIONID="ABC:c0" ;JSESSIONID=D%3Ac1', "Cookie: x=1"], "/strip/x",
         [b'JSESSIONID="ABC" ;JSESSIONID=D', b"x=1"]),
        ("strip", "/strip/a;jsessionid=ABC:c0;p=q:r/b;jsessionid=D:c0?q;jsessionid=x:y", [],
         "/strip/a;jsessionid=ABC;p=q:r/b;jsessionid=D?q;jsessionid=x:y", []),
        ("strip", "/strip/x", ["Cookie: JSESSIONID=ABC; a=b"], "/strip/x", [b"JSESSIONID=ABC; a=b"]),
        ("strip_plus", "/strip_plus/x", ["Cookie: JSESSIONID=A:B+c0+c1"], "/strip_plus/x", [b"JSESSIONID=A:B"]),
    ],
)  # fmt: skip
async def test_server_that_cannot_read_lists_gets_none(proxy: Running, name: str, path: str, lines: list[str], seen_path: str, seen: list[bytes]) -> None:  # fmt: skip
    """affinity.strip_clone_ids; every other byte stays, and routing still reads the list."""
    it, lanes = proxy
    first, second = (member.origin for member in lanes[name].members)
    before = len(first.requests) + len(second.requests)
    async with first.serving(keep_answering), second.serving(keep_answering):
        await ask(it.port, get(path, *lines))
    requests = first.requests + second.requests
    assert len(requests) == before + 1
    if ":c" in path + str(lines) or "+c" in str(lines):
        assert first.requests, "affinity was lost"
    [message] = [each for each in requests if each.startswith(f"GET {seen_path} ".encode())][-1:]
    cookies = [line.partition(b":")[2].strip() for line in message.split(b"\r\n") if line.lower().startswith(b"cookie:")]  # fmt: skip
    assert cookies == seen


async def test_stripped_session_moves_too() -> None:
    """After a failure in mid-request the list is still known: s1 gets the session alone, the client the whole list."""
    pair = lane("pair", 2)
    first, second = (member.origin for member in pair.members)

    scripts: list[Script] = [hang_up, keep_answering]
    async with contextlib.AsyncExitStack() as stack:
        settings = '[affinity]\nstrip_clone_ids = ["*"]\n'
        proxy = await stack.enter_async_context(running_proxy([pair], settings=settings))
        for origin, script in zip((first, second), scripts, strict=True):
            await stack.enter_async_context(origin.serving(script))
        answer = await ask(proxy.port, get("/pair/x", "Cookie: JSESSIONID=ABC.c0:c0"))
        assert [field(each.requests[0], b"cookie") for each in (first, second)] == [
            b"JSESSIONID=ABC.c0"
        ] * 2
        assert answer.all(b"set-cookie") == [b"JSESSIONID=ABC.c0:c0:c1" + ADDED]
        # At its own server nothing is added.
        async with await Client.connect(proxy.port) as client:
            answer = await client.ask(get("/pair/x", "Cookie: JSESSIONID=ABC.c0:c1:c0"))
            assert answer.all(b"set-cookie") == []


async def test_stripped_list_is_followed_after_a_failure() -> None:
    """Server after server of the list, though no head that was sent has it; then another one, and the client learns it."""
    four = lane("four", 4)
    origins = [member.origin for member in four.members]

    settings = '[affinity]\nstrip_clone_ids = ["four"]\n'
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(running_proxy([four], settings=settings))
        for origin in (origins[0], origins[2]):
            await stack.enter_async_context(origin.serving(hang_up))
        for origin in (origins[1], origins[3]):
            await stack.enter_async_context(origin.serving(keep_answering))
        answer = await ask(proxy.port, get("/four/x", "Cookie: JSESSIONID=ABC:c2:c0:c3"))
        assert [len(origin.requests) for origin in origins] == [1, 0, 1, 1]
        assert answer.all(b"set-cookie") == []
        answer = await ask(proxy.port, get("/four/x;jsessionid=DEF:c0:c1"))
        assert [len(origin.requests) for origin in origins] == [2, 1, 1, 1]
        assert origins[1].requests[0].startswith(b"GET /four/x;jsessionid=DEF HTTP/1.1\r\n")
        assert answer.all(b"set-cookie") == []


async def test_unknown_cluster_stops_the_start() -> None:
    """With the names that there are."""
    pair = lane("pair", 2)
    settings = '[affinity]\nstrip_clone_ids = ["pear"]\n'
    with pytest.raises(
        AssertionError, match=r'found "pear", which is no ServerCluster.*did you mean pair'
    ):
        async with running_proxy([pair], settings=settings):
            pass


async def test_cookie_over_tls_is_secure(tmp_path: Path) -> None:
    """A session that moved is told with Secure, and servers are told https."""
    ca = Authority()
    ca.write_pem(tmp_path)
    ca.issue("shop.example").write_pem(tmp_path, "shop")
    settings = """
[forwarded]
x_forwarded = true
forwarded = true
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "shop.pem", key = "shop.key" }]
"""
    pair = lane("pair", 2)
    pair.members[0].origin.refuse()
    second = pair.members[1].origin
    async with running_proxy([pair], settings=settings, listen=None, folder=tmp_path) as proxy:
        context = client_context(tmp_path / "ca.pem")
        async with (
            second.serving(keep_answering),
            await TlsClient.open(proxy.ports[0], context, "shop.example", None) as client,
        ):
            answer = await client.ask(get("/pair/x", "Cookie: JSESSIONID=0000abc:c0"))
        assert answer.all(b"set-cookie") == [b"JSESSIONID=0000abc:c0:c1" + ADDED + b"; Secure"]
        [message] = second.requests
        assert field(message, b"x-forwarded-proto") == b"https"
        assert field(message, b"forwarded") == (
            b'for=127.0.0.1;host="shop.example:9080";proto=https'
        )
