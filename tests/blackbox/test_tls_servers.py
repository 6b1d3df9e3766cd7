"""TLS to servers: the real process in front of scripted TLS origins with certificates made here."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Answer, Client, IncompleteError, ask, get, request
from tests.support.origin import Origin, field, keep_answering
from tests.support.proxy import Proxy, running_proxy
from tests.support.tls_pipe import (
    TlsClient,
    TlsOrigin,
    TlsOriginConnection,
    client_context,
    server_context,
)

PASSWORD = b"Key Ring 1"


def stash(folder: Path, name: str = "key", password: bytes = PASSWORD) -> None:
    """A stash file as GSKit writes it in its first format: 129 bytes, masked."""
    text = password.ljust(129, b"\0")
    (folder / f"{name}.sth").write_bytes(bytes(byte ^ 0xF5 for byte in text))


def transport(
    origin: Origin, protocol: str = "https", attributes: str = "", **properties: str
) -> str:
    inside = "".join(
        f'<Property Name="{name}" Value="{value}"/>' for name, value in properties.items()
    )
    return f'<Transport Hostname="127.0.0.1" Port="{origin.port}" Protocol="{protocol}" {attributes}>{inside}</Transport>'


def cluster(*servers: str) -> str:
    inside = "".join(f'<Server Name="s{at}">{each}</Server>' for at, each in enumerate(servers))
    return (
        f'<ServerCluster Name="c">{inside}</ServerCluster>'
        '<UriGroup Name="u"><Uri Name="/*"/></UriGroup><Route ServerCluster="c" UriGroup="u"/>'
    )


LISTENERS = """
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "front.pem", key = "front.key" }]
"""


@asynccontextmanager
async def running(
    folder: Path, *servers: str, settings: str = "", workers: int = 1
) -> AsyncIterator[Proxy]:
    """A proxy with a plain and a TLS listener before these servers."""
    front = Authority("Front")
    front.write_pem(folder, "front-ca")
    front.issue("shop.example").write_pem(folder, "front")
    async with running_proxy(
        [],
        routes=cluster(*servers),
        settings=settings + LISTENERS,
        listen=None,
        folder=folder,
        workers=workers,
    ) as proxy:
        yield proxy


async def ask_secure(proxy: Proxy, folder: Path, data: bytes) -> Answer:
    context = client_context(folder / "front-ca.pem")
    async with await TlsClient.open(proxy.ports[1], context) as client:
        return await client.ask(data)


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    authority = Authority()
    authority.write_pem(tmp_path)
    return authority


@pytest.fixture
def origins() -> Iterator[Callable[..., Origin]]:
    """Makes origins that are closed in the end: a context for TLS, none for plain."""
    made: list[Origin] = []

    def make(context: ssl.SSLContext | None = None) -> Origin:
        made.append(Origin() if context is None else TlsOrigin(context))
        return made[-1]

    yield make
    for each in made:
        each.close()


MakeOrigin = Callable[..., Origin]
TRUST = '[upstream.tls]\ntrust = "ca.pem"\n'


async def test_scheme_of_the_request_chooses_the_transport(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """Http goes to http, https to https, each on connections of its own (PLUGIN 2.4)."""
    secure = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server")))
    plain = origins()
    both = transport(plain, "http") + transport(secure)
    async with (
        secure.serving(keep_answering),
        plain.serving(keep_answering),
        running(tmp_path, both, settings=TRUST) as proxy,
    ):
        for _ in range(2):
            assert (await ask(proxy.port, get("/plain"))).status == 200
            assert (await ask_secure(proxy, tmp_path, get("/secure"))).status == 200
    assert [message.split()[1] for message in plain.requests] == [b"/plain"] * 2
    assert [message.split()[1] for message in secure.requests] == [b"/secure"] * 2
    assert (plain.accepted, secure.accepted) == (1, 1)
    [connection] = secure.connections
    assert isinstance(connection, TlsOriginConnection)
    assert connection.pipe.ssl.selected_alpn_protocol() is None  # the origin offers none


@pytest.mark.parametrize("protocol", ["http", "https"])
async def test_only_transport_serves_both_schemes(
    tmp_path: Path, ca: Authority, origins: MakeOrigin, protocol: str
) -> None:
    """A server with one Transport gets all requests there."""
    context = server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server"))
    origin = origins(context if protocol == "https" else None)
    async with (
        origin.serving(keep_answering),
        running(tmp_path, transport(origin, protocol), settings=TRUST) as proxy,
    ):
        assert (await ask(proxy.port, get("/a"))).status == 200
        assert (await ask_secure(proxy, tmp_path, get("/b"))).status == 200
    assert origin.accepted == 1


async def test_only_http_1_1_is_offered(tmp_path: Path, ca: Authority, origins: MakeOrigin) -> None:
    """Liberty would take h2."""
    context = server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    origin = origins(context)
    async with (
        origin.serving(keep_answering),
        running(tmp_path, transport(origin), settings=TRUST) as proxy,
    ):
        assert (await ask(proxy.port, get("/"))).status == 200
    [connection] = origin.connections
    assert isinstance(connection, TlsOriginConnection)
    assert connection.pipe.ssl.selected_alpn_protocol() == "http/1.1"


async def test_keyring_with_stash_is_trust_and_client_certificate(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """A .p12 beside plugin-cfg.xml, its password in a stash file, certLabel in another case."""
    mine = ca.issue("plugin")
    mine.write_p12(tmp_path, "key", PASSWORD, "LibertyCert")
    stash(tmp_path)
    context = server_context(
        ca.issue("127.0.0.1").write_pem(tmp_path, "server"), client_ca=tmp_path / "ca.pem"
    )
    origin = origins(context)
    keyring = transport(origin, keyring="key.p12", stashfile="key.sth", certLabel="libertycert")
    async with origin.serving(keep_answering), running(tmp_path, keyring) as proxy:
        assert (await ask(proxy.port, get("/"))).status == 200
        [connection] = origin.connections
        assert isinstance(connection, TlsOriginConnection)
        assert connection.pipe.ssl.getpeercert(binary_form=True) == mine.der


async def test_server_that_wants_a_certificate_we_do_not_have(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """The reason is in the log; the client gets an answer."""
    context = server_context(
        ca.issue("127.0.0.1").write_pem(tmp_path, "server"), client_ca=tmp_path / "ca.pem"
    )
    origin = origins(context)
    async with (
        origin.serving(keep_answering),
        running(tmp_path, transport(origin), settings=TRUST) as proxy,
    ):
        assert (await ask(proxy.port, get("/"))).status in (502, 503)
        await proxy.line("certificate required")


@pytest.mark.parametrize(
    ("names", "days", "is_known", "reason"),
    [
        (["other.example"], 30, True, "IP address mismatch"),
        (["127.0.0.1"], -1 / 48, True, "certificate has expired"),
        (["127.0.0.1"], 30, False, "self-signed certificate in certificate chain"),
    ],
    ids=["name", "expired", "stranger"],
)
async def test_server_that_proves_nothing_is_down(
    tmp_path: Path,
    ca: Authority,
    origins: MakeOrigin,
    names: list[str],
    days: float,
    is_known: bool,
    reason: str,
) -> None:
    """The request goes to the next server, before a byte of it was sent; the log has the reason."""
    issuer = ca if is_known else Authority("Stranger")
    bad = origins(server_context(issuer.issue(*names, ends_days=days).write_pem(tmp_path, "bad")))
    good = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "good")))
    async with (
        bad.serving(keep_answering),
        good.serving(keep_answering),
        running(tmp_path, transport(bad), transport(good), settings=TRUST) as proxy,
    ):
        for _ in range(4):
            assert (await ask(proxy.port, get("/", "Cookie: secret=1"))).status == 200
        found = await proxy.line(r"Marking s0 down: .* could not connect: (.*)")
        assert reason in found[1]
    assert bad.received == b""
    assert len(good.requests) == 4


async def test_alias_is_the_name_expected(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """HostnameAlias, also sent as server name."""
    context = server_context(ca.issue("app.internal").write_pem(tmp_path, "server"))
    said: list[str | None] = []
    context.sni_callback = lambda _object, name, _context: said.append(name)
    origin = origins(context)
    async with (
        origin.serving(keep_answering),
        running(
            tmp_path, transport(origin, attributes='HostnameAlias="app.internal"'), settings=TRUST
        ) as proxy,
    ):
        assert (await ask(proxy.port, get("/"))).status == 200
    assert said == ["app.internal"]


@pytest.mark.parametrize(
    ("verify", "is_known", "status", "warning"),
    [
        ("chain", True, 200, "verified without host names"),
        ("chain", False, 503, "verified without host names"),
        ("none", False, 200, "NOT verified at all"),
    ],
)
async def test_verification_can_be_loosened_loudly(
    tmp_path: Path,
    ca: Authority,
    origins: MakeOrigin,
    verify: str,
    is_known: bool,
    status: int,
    warning: str,
) -> None:
    """Each start says so."""
    issuer = ca if is_known else Authority("Stranger")
    origin = origins(server_context(issuer.issue("other.example").write_pem(tmp_path, "server")))
    settings = f'{TRUST}verify = "{verify}"\n'
    async with (
        origin.serving(keep_answering),
        running(tmp_path, transport(origin), settings=settings) as proxy,
    ):
        await proxy.line(f"WARNING .*{warning}")
        assert (await ask(proxy.port, get("/"))).status == status


async def test_kdb_beside_http_does_not_stop_the_start(tmp_path: Path, origins: MakeOrigin) -> None:
    """As real files are: a .kdb that exists nowhere; the http Transport serves both schemes and the log has the command."""
    origin = origins()
    both = transport(origin, "http") + transport(
        origin, keyring="/opt/x/plugin-key.kdb", stashfile="/opt/x/plugin-key.sth"
    )
    async with origin.serving(keep_answering), running(tmp_path, both) as proxy:
        line = await proxy.line(r"https Transport of \"s0\" cannot be used: (.*)")
        assert (
            'gskcapicmd -keydb -convert -db "/opt/x/plugin-key.kdb" -stashed '
            '-new_db "/opt/x/plugin-key.p12" -new_format p12 -v1stash' in line[1]
        )
        assert "https requests go to the http Transport" in line[1]
        assert (await ask(proxy.port, get("/"))).status == 200
        assert (await ask_secure(proxy, tmp_path, get("/"))).status == 200


async def test_unusable_keyring_without_http_fails_over(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """The server counts as down, with the reason; where all are so: 503."""
    good = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "good")))
    bad = transport(good, keyring="missing.p12")
    async with (
        good.serving(keep_answering),
        running(tmp_path, bad, transport(good, keyring="ca.pem")) as proxy,
    ):
        for _ in range(3):
            assert (await ask(proxy.port, get("/"))).status == 200
        found = await proxy.line("Marking s0 down: (.*)")
        assert re.search("missing.p12', which cannot be read", found[1])
    async with running(tmp_path, bad) as proxy:
        assert (await ask(proxy.port, get("/"))).status == 503


async def test_large_bodies_pass_both_ciphers_whole(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """TLS in, TLS out, 3 MiB each way, the connection used again."""
    origin = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server")))
    body = bytes(range(256)) * 12 * 1024

    async def echo(connection: object) -> None:
        assert isinstance(connection, TlsOriginConnection)
        while True:
            message = await connection.request()
            sent = message.partition(b"\r\n\r\n")[2]
            await connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent) + sent
            )

    async with (
        origin.serving(echo),
        running(tmp_path, transport(origin), settings=TRUST) as proxy,
    ):
        for _ in range(3):
            answer = await ask_secure(proxy, tmp_path, request("POST", "/", body=body))
            assert answer.body == body
    assert origin.accepted == 1


@pytest.mark.parametrize("is_proper", [True, False], ids=["close_notify", "cut"])
async def test_answer_that_ends_with_the_connection_needs_close_notify(
    tmp_path: Path, ca: Authority, origins: MakeOrigin, is_proper: bool
) -> None:
    """A FIN alone can come from anybody on the way: the client must not take what came for all."""
    origin = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server")))
    async with (
        running(tmp_path, transport(origin), settings=TRUST) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/"))
        connection = await origin.accept()
        assert isinstance(connection, TlsOriginConnection)
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nbody")
        head = await client.head()
        if is_proper:
            await connection.pipe.end()
        connection.close()
        if is_proper:
            assert (await client.body(head)).body == b"body"
        else:
            with pytest.raises(IncompleteError):
                await client.body(head)


async def test_reused_connection_that_was_ended_is_not_used(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """A pooled TLS connection that the server closed meanwhile costs no request."""
    origin = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server")))

    async def once(connection: object) -> None:
        assert isinstance(connection, TlsOriginConnection)
        await connection.answer()
        await connection.pipe.end()

    async with (
        origin.serving(once),
        running(tmp_path, transport(origin), settings=TRUST) as proxy,
    ):
        for _ in range(3):
            assert (await ask(proxy.port, request("POST", "/", body=b"x" * 100_000))).status == 200


async def test_private_headers_go_to_tls_servers_too(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """They tell of the client's side: http there, though https here."""
    origin = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server")))
    async with (
        origin.serving(keep_answering),
        running(tmp_path, transport(origin), settings=TRUST) as proxy,
    ):
        await ask(proxy.port, get("/", "$WSCC: " + base64.b64encode(b"forged").decode()))
    [message] = origin.requests
    assert (field(message, b"$WSSC"), field(message, b"$WSCC")) == (b"http", None)


async def test_silent_server_has_connect_timeout_for_its_handshake(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """It accepts and says nothing: the next server gets the request."""
    silent = origins()
    good = origins(server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "good")))
    settings = f"[upstream]\nconnect_s = 0.3\n{TRUST}"
    async with (
        good.serving(keep_answering),
        running(tmp_path, transport(silent), transport(good), settings=settings) as proxy,
    ):
        for _ in range(2):
            assert (await ask(proxy.port, get("/"))).status == 200
        await proxy.line("Marking s0 down: .*no connection within 0.3 s")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_new_connection_resumes_the_session_of_the_last(
    tmp_path: Path, ca: Authority, origins: MakeOrigin, version: ssl.TLSVersion
) -> None:
    """Also where the server broke the last one off; a server that lost its keys gets a whole handshake again."""
    context = server_context(ca.issue("127.0.0.1").write_pem(tmp_path, "server"))
    context.maximum_version = version
    origin = origins(context)
    assert isinstance(origin, TlsOrigin)
    settings = TRUST + "[upstream]\npool_size = 0\n"
    async with (
        running(tmp_path, transport(origin), settings=settings) as proxy,
        await Client.connect(proxy.ports[0]) as client,
    ):
        for resumed in (False, True, True, False, True):
            if not resumed and origin.accepted:
                origin.context = server_context((tmp_path / "server.pem", tmp_path / "server.key"))
                origin.context.maximum_version = version
            await client.send(get("/x"))
            server = await origin.accept()
            await server.answer()
            assert (await client.answer()).body == b"ok"
            assert isinstance(server, TlsOriginConnection)
            assert server.pipe.ssl.session_reused is resumed
            server.close()


async def test_session_is_never_taken_to_another_name(
    tmp_path: Path, ca: Authority, origins: MakeOrigin
) -> None:
    """One context for both, and the same keys behind: still each name is verified for itself."""
    files = ca.issue("one.example", "two.example").write_pem(tmp_path, "server")
    context = server_context(files)
    first, second = origins(context), origins(context)
    settings = TRUST + "[upstream]\npool_size = 0\n"
    servers = (
        transport(first, attributes='HostnameAlias="one.example"'),
        transport(second, attributes='HostnameAlias="two.example"'),
    )
    async with (
        running(tmp_path, *servers, settings=settings) as proxy,
        await Client.connect(proxy.ports[0]) as client,
    ):
        for resumed in (False, True):
            asking = {asyncio.ensure_future(each.accept()) for each in (first, second)}
            for _ in range(2):
                await client.send(get("/x"))
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                server = done.pop().result()
                await server.answer()
                assert (await client.answer()).body == b"ok"
                assert isinstance(server, TlsOriginConnection)
                assert server.pipe.ssl.session_reused is resumed
