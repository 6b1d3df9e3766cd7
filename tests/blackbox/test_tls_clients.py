"""TLS from clients: the real process, real sockets, certificates made here."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.admin import ask_admin
from tests.support.certificates import Authority, Issued
from tests.support.client import Client, IncompleteError, get, request
from tests.support.origin import answering, keep_answering
from tests.support.origin import field as field_of
from tests.support.process import WAIT_S
from tests.support.proxy import LOOPS_TLS, PROGRAM, Lane, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context
from wsproxy._fast.net import libssl
from wsproxy._fast.net.records import MOST_IN_HANDSHAKE

pytestmark = pytest.mark.asyncio(loop_scope="module")

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
# TLS on sockets of the workers, and on the event loop.
WAYS = pytest.mark.parametrize("program", [PROGRAM, LOOPS_TLS], ids=["sockets", "loop"])
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls1.2", "tls1.3"])

SETTINGS = """
[timeouts]
head_s = 1.5
body_s = 30
[[listener]]
address = "127.0.0.1:0"
certificates = [
  { chain = "shop.pem", key = "shop.key" },
  { p12 = "other.p12", password_file = "other.pw" },
]
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "shop.pem", key = "shop.key" }]
client_certificates = "required"
client_ca = "ca.pem"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "shop.pem", key = "shop.key" }]
min_version = "1.3"
client_certificates = "optional"
client_ca = "ca.pem"
"""
OPEN, CLOSED, PLAIN, NEW = range(4)  # the listeners


@dataclass(slots=True)
class Bench:
    """A proxy with four listeners, what it shows, and who clients trust."""

    proxy: Proxy
    folder: Path
    ca: Authority
    shop: Issued
    other: Issued
    fresh: list[Lane] = field(default_factory=list)

    def lane(self) -> Lane:
        return self.fresh.pop()

    def context(
        self, version: ssl.TLSVersion | None = None, *, known: bool = False
    ) -> ssl.SSLContext:
        mine = self.ca.issue("client.example").write_pem(self.folder, "client") if known else None
        return client_context(self.folder / "ca.pem", version=version, certificate=mine)

    async def open(
        self,
        listener: int = OPEN,
        context: ssl.SSLContext | None = None,
        name: str | None = "shop.example",
        session: ssl.SSLSession | None = None,
    ) -> TlsClient:
        port = self.proxy.ports[listener]
        return await TlsClient.open(port, context or self.context(), name, session)


def write_files(folder: Path) -> tuple[Authority, Issued, Issued]:
    ca = Authority()
    shop = ca.issue("shop.example", "*.shop.example", "127.0.0.1")
    other = ca.issue("other.example", rsa_bits=2048)
    ca.write_pem(folder)
    shop.write_pem(folder, "shop")
    other.write_p12(folder, "other", b"se cret")
    (folder / "other.pw").write_bytes(b"se cret\n")
    return ca, shop, other


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[PROGRAM, LOOPS_TLS], ids=["sockets", "loop"]
)
async def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("tls")
    ca, shop, other = write_files(folder)
    lanes = [lane(f"lane{number}") for number in range(40)]
    async with running_proxy(
        lanes, workers=2, settings=SETTINGS, listen=None, folder=folder, program=request.param
    ) as proxy:
        yield Bench(proxy, folder, ca, shop, other, list(lanes))


@VERSIONS
async def test_request_over_tls_is_answered(bench: Bench, version: ssl.TLSVersion) -> None:
    """Both versions, several requests on one connection; the server learns of https."""
    lane = bench.lane()
    context = bench.context(version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with lane.origin.serving(keep_answering), await bench.open(context=context) as client:
        for _ in range(3):
            assert (await client.ask(get(f"/{lane.name}/x"))).body == b"ok"
        assert client.pipe.ssl.version() == {TLS12: "TLSv1.2", TLS13: "TLSv1.3"}[version]
        assert client.pipe.ssl.selected_alpn_protocol() == "http/1.1"
        cipher = client.pipe.ssl.cipher()
    message = lane.origin.requests[0]
    assert field_of(message, b"$WSIS") == b"true"
    assert field_of(message, b"$WSSC") == b"https"
    assert cipher is not None
    expected = {
        "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    }
    assert field_of(message, b"$WSCS") == expected.get(cipher[0], cipher[0]).encode()
    assert field_of(message, b"$WSCC") is None
    session = field_of(message, b"$WSSI")
    if version is TLS13:  # with tickets, a session of TLS 1.2 has no id
        assert session is not None
        assert len(bytes.fromhex(session.decode())) == 32


async def test_port_of_a_host_without_one_is_that_of_https(bench: Bench) -> None:
    """443 in $WSSP, and 80 on the plain listener of the same process."""
    lane = bench.lane()
    head = f"GET /{lane.name}/x HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode()
    async with lane.origin.serving(keep_answering):
        async with await bench.open() as client:
            await client.ask(head)
        async with await Client.connect(bench.proxy.ports[PLAIN]) as plain:
            await plain.ask(head)
    [secure, open_] = lane.origin.requests
    assert (field_of(secure, b"$WSSP"), field_of(open_, b"$WSSP")) == (b"443", b"80")
    assert (field_of(open_, b"$WSIS"), field_of(open_, b"$WSCS")) == (b"false", None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shop.example", "shop"),
        ("SHOP.example", "shop"),
        ("a.shop.example", "shop"),
        ("other.example", "other"),
        ("a.other.example", "shop"),
        ("a.b.shop.example", "shop"),
        (None, "shop"),
    ],
)
async def test_certificate_follows_the_server_name(
    bench: Bench, name: str | None, shown: str
) -> None:
    """Exact names and one-level wildcards; the first certificate for whoever says another name, or none."""
    context = bench.context()
    context.check_hostname = False
    async with await bench.open(context=context, name=name) as client:
        der = client.pipe.ssl.getpeercert(binary_form=True)
    assert der == getattr(bench, shown).der


@VERSIONS
@pytest.mark.skipif(shutil.which("openssl") is None, reason="Python sends no such name")
@pytest.mark.parametrize("name", [b"\xff\xfe.example", "sch\u00f6n.example".encode()])
async def test_server_name_that_is_not_ascii_gets_the_first_certificate(
    bench: Bench, version: ssl.TLSVersion, name: bytes
) -> None:
    """Whoever says it is served like one who says a name that is not known, and the next one is chosen for again."""
    lane = bench.lane()
    async with lane.origin.serving(keep_answering):
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-ign_eof", "-verify_return_error", "-servername", name),
            *(
                "-connect",
                f"127.0.0.1:{bench.proxy.ports[OPEN]}",
                "-CAfile",
                bench.folder / "ca.pem",
            ),
            "-tls1_2" if version is TLS12 else "-tls1_3",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        question = f"GET /{lane.name}/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        said, _ = await asyncio.wait_for(client.communicate(question.encode()), WAIT_S)
    assert b"subject=CN = shop.example" in said or b"subject=CN=shop.example" in said
    assert b"\nHTTP/1.1 200 OK\r\n" in said.replace(b"\r\n---\r\n", b"\n").replace(b"---\n", b"\n")
    async with await bench.open(name="other.example") as other:
        assert other.pipe.ssl.getpeercert(binary_form=True) == bench.other.der


@VERSIONS
async def test_session_goes_on_at_every_worker(bench: Bench, version: ssl.TLSVersion) -> None:
    """Tickets of one worker are good at the other, and at one that was started after the ticket was made."""
    lane = bench.lane()
    context = bench.context(version)
    async with lane.origin.serving(keep_answering):
        async with await bench.open(context=context) as client:
            await client.ask(get(f"/{lane.name}/x"))
            assert not client.pipe.ssl.session_reused
            session = client.pipe.ssl.session
        assert session is not None
        old = bench.proxy.workers()
        start = len(bench.proxy.lines)
        bench.proxy.expected.append(r"was killed by")
        os.kill(old[0], signal.SIGKILL)
        await bench.proxy.line(rf"worker \d+ \(pid {old[0]}\)", start)
        reused = []
        for _ in range(
            24
        ):  # each goes to one of the two workers: all to the same one is as likely as 2**-23
            async with await bench.open(context=context, session=session) as client:
                await client.ask(get(f"/{lane.name}/x"))
                reused.append(client.pipe.ssl.session_reused)
    assert all(reused), reused


@VERSIONS
async def test_session_ends_at_its_listener(bench: Bench, version: ssl.TLSVersion) -> None:
    """A ticket of a listener that asks for no certificate opens none that requires one (CVE-2025-23419)."""
    lane = bench.lane()
    context = bench.context(version)
    async with lane.origin.serving(keep_answering):
        async with await bench.open(OPEN, context) as client:
            await client.ask(get(f"/{lane.name}/x"))
            session = client.pipe.ssl.session
        with pytest.raises((ssl.SSLError, IncompleteError, ConnectionResetError)):
            async with await bench.open(CLOSED, context, session=session) as client:
                await client.ask(get(f"/{lane.name}/x"))
    assert lane.origin.accepted == 1


@VERSIONS
async def test_client_certificate_reaches_the_server(bench: Bench, version: ssl.TLSVersion) -> None:
    """$WSCC is the certificate in one line of base64, also where the session was resumed."""
    lane = bench.lane()
    context = bench.context(version, known=True)
    mine = ssl.PEM_cert_to_DER_cert(
        (bench.folder / "client.pem").read_text().partition("\n-----END")[0]
        + "\n-----END CERTIFICATE-----\n"
    )
    session = None
    async with lane.origin.serving(keep_answering):
        for _ in range(2):
            async with await bench.open(CLOSED, context, session=session) as client:
                await client.ask(get(f"/{lane.name}/x", "$WSCC: forged"))
                assert client.pipe.ssl.session_reused is (session is not None)
                session = client.pipe.ssl.session
    for message in lane.origin.requests:
        assert base64.b64decode(field_of(message, b"$WSCC") or b"", validate=True) == mine


async def test_client_without_required_certificate_gets_nothing(bench: Bench) -> None:
    """Nor one whose certificate another authority issued; where it is optional the first is let in."""
    lane = bench.lane()
    stranger = Authority("Stranger").issue("client.example").write_pem(bench.folder, "stranger")
    forged = client_context(bench.folder / "ca.pem", certificate=stranger)
    for listener, context in ((CLOSED, bench.context()), (CLOSED, forged), (NEW, forged)):
        with pytest.raises((ssl.SSLError, IncompleteError, ConnectionResetError)):
            async with await bench.open(listener, context) as client:
                await client.ask(get(f"/{lane.name}/x"))
    await bench.proxy.line("TLS with a client failed: CERTIFICATE_VERIFY_FAILED")
    async with lane.origin.serving(keep_answering), await bench.open(NEW) as client:
        assert (await client.ask(get(f"/{lane.name}/x"))).status == 200
    [message] = lane.origin.requests
    assert field_of(message, b"$WSCC") is None


async def test_old_version_is_refused(bench: Bench) -> None:
    """min_version holds for its listener alone; below 1.2 nothing works anywhere."""
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await bench.open(NEW, bench.context(TLS12))
    await bench.proxy.line("TLS with a client failed: UNSUPPORTED_PROTOCOL")


async def test_silent_client_is_dropped_in_the_handshake(bench: Bench) -> None:
    """The handshake has head_s."""
    async with await Client.connect(bench.proxy.ports[OPEN]) as silent:
        assert await silent.is_cut()


async def test_handshake_in_too_many_records_is_refused(bench: Bench) -> None:
    out = ssl.MemoryBIO()
    begun = bench.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="shop.example")
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    hello = out.read()
    pieces = [hello[:3] + b"\0\1" + hello[at : at + 1] for at in range(5, len(hello))]
    assert len(pieces) > MOST_IN_HANDSHAKE
    async with await Client.connect(bench.proxy.ports[OPEN]) as client:
        await client.send(b"".join(pieces))
        assert await client.is_cut()
    await bench.proxy.line("TLS with a client failed: too many records in the handshake")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
async def test_plain_request_on_a_tls_port_is_told_so(bench: Bench, method: str) -> None:
    """400 with a line that says what is wrong, whatever the method, the body and how the request comes in."""
    listener = {"GET": OPEN, "POST": CLOSED}.get(method, NEW)
    async with await Client.connect(bench.proxy.ports[listener]) as plain:
        await plain.send(request(method, "/", body=b"x" * 300_000 if method == "POST" else b""))
        answer = await plain.answer()
        assert (answer.status, answer.closes) == (400, True)
        assert b"This port speaks TLS: the address must begin with https://." in answer.body
    await bench.proxy.line("a plain request on a TLS port is answered with 400")


async def test_plain_head_request_on_a_tls_port_gets_no_body(bench: Bench) -> None:
    async with await Client.connect(bench.proxy.ports[OPEN]) as plain:
        assert (await plain.ask(request("HEAD", "/"), head_only=True)).status == 400


async def test_tls_handshake_on_a_plain_port_is_refused_at_once(bench: Bench) -> None:
    """Not after head_s, as a head that does not end; the log says what it was."""
    start = len(bench.proxy.lines)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await bench.open(PLAIN)
    await bench.proxy.line(r"400: a TLS handshake on a port without certificates", start)


async def test_large_answer_to_a_slow_client_is_whole(bench: Bench) -> None:
    """Back-pressure through the cipher: 8 MiB to a client with a small window, and memory stays small."""
    lane = bench.lane()
    body = os.urandom(1 << 20) * 8
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    port = bench.proxy.ports[OPEN]
    async with lane.origin.serving(answering(reply)):
        client = await TlsClient.open(port, bench.context(), receive_buffer=8192)
        async with client:
            answer = await client.ask(get(f"/{lane.name}/x", "Connection: close"))
            assert answer.body == body
            assert await client.rest() == b""  # close_notify came


async def test_large_upload_is_whole(bench: Bench) -> None:
    """4 MiB from a TLS client reach the server as they were."""
    lane = bench.lane()
    body = os.urandom(1 << 20) * 4
    async with lane.origin.serving(keep_answering), await bench.open() as client:
        answer = await client.ask(request("POST", f"/{lane.name}/x", body=body))
        assert answer.status == 200
    [message] = lane.origin.requests
    assert message.endswith(body)


async def test_close_delimited_answer_ends_with_close_notify(bench: Bench) -> None:
    """An answer whose end is the end of the connection is whole only so; cut off, it must not end like this."""
    lane = bench.lane()
    async with await bench.open() as client:
        await client.send(get(f"/{lane.name}/x"))
        origin = await lane.origin.accept()
        await origin.request()
        await origin.send(b"HTTP/1.1 200 OK\r\n\r\nall")
        origin.close()
        assert (await client.answer()).body == b"all"
    async with await bench.open() as client:
        await client.send(get(f"/{lane.name}/x"))
        origin = await lane.origin.accept()
        await origin.request()
        await origin.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await client.head()
        origin.reset()
        with pytest.raises((IncompleteError, ConnectionResetError)):
            await client.rest()


async def test_fin_within_an_answer_does_not_make_it_whole(bench: Bench) -> None:
    """Anybody on the way can send a FIN: where the end of TLS would say that all is there, the connection is cut."""
    lane = bench.lane()
    async with await bench.open() as client:
        await client.send(f"GET /{lane.name}/x HTTP/1.0\r\nHost: shop.example\r\n\r\n".encode())
        origin = await lane.origin.accept()
        await origin.request()
        await origin.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        await client.head()
        client.sock.shutdown(socket.SHUT_WR)
        with pytest.raises((IncompleteError, ConnectionResetError)):
            await client.rest()


async def test_client_that_ends_tls_cancels_its_request(bench: Bench) -> None:
    """close_notify from a client is its end: TLS has no half-open connections; the server's side is cut."""
    lane = bench.lane()
    async with await bench.open() as client:
        await client.send(get(f"/{lane.name}/x"))
        origin = await lane.origin.accept()
        await origin.request()
        await client.pipe.end()
        assert await client.rest() == b""
        assert await origin.end() == b""


async def test_early_answer_to_an_upload_arrives(bench: Bench) -> None:
    """The server answers before the body is there: the client reads the answer, then the connection ends."""
    lane = bench.lane()
    async with await bench.open() as client:
        await client.send(
            f"POST /{lane.name}/x HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 100000\r\n\r\nx".encode()
        )
        origin = await lane.origin.accept()
        await origin.head()
        await origin.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        answer = await client.answer()
        assert (answer.status, answer.closes) == (403, True)
        await client.send(b"y" * 1000)
        assert await client.rest() == b""


@WAYS
async def test_changed_certificate_is_used_without_restart(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    """Also of another kind of key; a broken one is logged and the one before stays; a new worker has the newest."""
    ca = Authority()
    ca.write_pem(tmp_path)
    first = ca.issue("shop.example")
    first.write_pem(tmp_path, "shop")
    settings = '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
    context = client_context(tmp_path / "ca.pem")

    async def shown() -> bytes | None:
        async with await TlsClient.open(proxy.port, context) as client:
            return client.pipe.ssl.getpeercert(binary_form=True)

    only = lane("only")
    async with running_proxy(
        [only], settings=settings, listen=None, folder=tmp_path, program=program
    ) as proxy:
        assert await shown() == first.der
        (tmp_path / "shop.key").write_bytes(b"no key")
        await proxy.line(
            r"ERROR .*not used, the certificates from before stay: found no usable private key"
        )
        assert await shown() == first.der
        start = len(proxy.lines)
        second = ca.issue("shop.example", rsa_bits=2048)
        second.write_pem(tmp_path, "shop")
        await proxy.line("certificate files changed and are in use now: shop.example", start)
        assert await shown() == second.der
        start = len(proxy.lines)
        proxy.expected.append("was killed by")
        os.kill(proxy.workers()[0], signal.SIGKILL)
        await proxy.line("certificate files changed and are in use now", start)
        assert await shown() == second.der


async def test_ready_line_tells_https(bench: Bench) -> None:
    """Each listener with its scheme."""
    ready = await bench.proxy.line("ready on (.*) \\(2 workers")
    schemes = [url.partition(":")[0] for url in ready[1].split()]
    assert schemes == ["https", "https", "http", "https"]


@WAYS
async def test_log_and_status_say_which_way_tls_goes(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    write_files(tmp_path)
    settings = (
        '[[listener]]\naddress = "127.0.0.1:0"\n'
        'certificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
        f'[admin]\nsocket = "{tmp_path}/admin.sock"\n'
    )
    async with running_proxy(
        [lane("only")], settings=settings, listen=None, folder=tmp_path, program=program
    ) as proxy:
        is_ours = program == PROGRAM and libssl.owns()
        said = "on sockets of the workers" if is_ours else "goes through the event loop"
        await proxy.line(f"listener 127.0.0.1:0: TLS {said}")
        _, status = await ask_admin(tmp_path / "admin.sock", "GET", "/v1/status")
        assert status["tls"] == ("sockets" if is_ours else "loop" if libssl.is_used() else "python")
        _, servers = await ask_admin(tmp_path / "admin.sock", "GET", "/v1/servers")
        assert servers["tls"] == status["tls"]


@WAYS
async def test_stopping_worker_lets_a_tls_request_end(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    """SIGTERM within an exchange: the answer comes whole, with close_notify behind it."""
    write_files(tmp_path)
    settings = '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
    only = lane("only")
    async with running_proxy(
        [only], settings=settings, listen=None, folder=tmp_path, program=program
    ) as proxy:
        client = await TlsClient.open(proxy.port, client_context(tmp_path / "ca.pem"))
        async with client:
            await client.send(get("/only/x"))
            origin = await only.origin.accept()
            await origin.request()
            proxy.stop()
            await proxy.line("stopping")
            body = b"z" * 300_000
            await origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + body)
            answer = await client.answer()
            assert answer.body == body
            assert await client.rest() == b""
        await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
