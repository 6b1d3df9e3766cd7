"""TLS at admin.listen: who asks there is encrypted or gets nothing, and files that change are taken over."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority
from tests.support.command import run_command
from tests.support.proxy import Proxy, lane, process_of, running_proxy, write
from wsproxy.admin.door import MOST_CONNECTIONS

TOKEN = "a-token-of-this-test"
SETTINGS = (
    '[admin]\nsocket = "off"\nlisten = "0.0.0.0:0"\ntoken_file = "token"\ncertificate = "admin.pem"\nkey = "admin.key"\n'
    '[metrics]\nservers = false\n'
)  # fmt: skip


@dataclass(slots=True)
class Desk:
    """Where a proxy answers by TLS, and who signed for it."""

    proxy: Proxy
    port: int
    authority: Authority

    def context(self) -> ssl.SSLContext:
        root = self.authority.certificate.public_bytes(Encoding.PEM).decode()
        return ssl.create_default_context(cadata=root)

    async def ask(
        self, path: str, token: str = TOKEN, context: ssl.SSLContext | None = None
    ) -> tuple[bytes, int, str]:
        """The answer, the serial number of the certificate that was shown, and the version of TLS."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or self.context(), server_hostname="admin.example"
        )
        wire = writer.get_extra_info("ssl_object")
        shown = x509.load_der_x509_certificate(wire.getpeercert(True))
        field = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n{field}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer, shown.serial_number, wire.version()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Desk]:
    authority = Authority()
    authority.issue("admin.example").write_pem(folder, "admin")
    write(folder / "token", f"{TOKEN}\n").chmod(0o600)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(
            running_proxy([lane("farm")], settings=SETTINGS, folder=folder)
        )
        found = await proxy.line(r"admin, metrics and health on https://[\d.]+:(\d+), with a token")
        yield Desk(proxy, int(found[1]), authority)


async def test_who_asks_is_encrypted_or_gets_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as desk:
        answer, _, version = await desk.ask("/metrics")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert version == "TLSv1.3"
        name = (
            b'wsproxy_certificate_expiry_timestamp_seconds{listener="0.0.0.0:0",certificate="%b"}'
        )
        assert name % os.fsencode(tmp_path / "admin.pem") in answer
        assert (await desk.ask("/metrics", token=""))[0].startswith(b"HTTP/1.1 401 ")
        assert (await desk.ask("/health", token=""))[0].startswith(b"HTTP/1.1 200 ")
        older = desk.context()
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await desk.ask("/metrics", context=older))[2] == "TLSv1.2"
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        found = await reader.read()
        assert b"HTTP" not in found  # an alert at most
        writer.close()


async def test_version_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """A hello of TLS 1.1, byte by byte, as no library of today sends one."""
    body = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x09" + b"\x01\x00"
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    async with running(tmp_path) as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
        assert (await reader.read())[:1] != b"\x16"  # no hello comes back
        await desk.proxy.line("TLS with a client failed: UNSUPPORTED_PROTOCOL")
        writer.close()


async def test_changed_certificate_is_shown_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Also one with another kind of key; nothing is started anew."""
    async with running(tmp_path) as desk:
        _, first, _ = await desk.ask("/health")
        admin = process_of(desk.proxy.pid, "wsproxy-admin")
        desk.authority.issue("admin.example", rsa_bits=2048).write_pem(tmp_path, "admin")
        await desk.proxy.line("admin.certificate: the files changed and are in use now")
        _, second, _ = await desk.ask("/health")
        assert second != first
        desk.proxy.expected.append("changed files are not used")
        good = (tmp_path / "admin.pem").read_bytes()
        other, _ = desk.authority.issue("admin.example").write_pem(tmp_path, "other")
        (tmp_path / "admin.pem").write_bytes(other.read_bytes())
        await desk.proxy.line("changed files are not used, the ones from before stay: .*admin.key")
        assert (await desk.ask("/health"))[1] == second
        start = len(desk.proxy.lines)
        (tmp_path / "admin.pem").write_bytes(good)
        await desk.proxy.line("files changed and are in use now", start)
        assert (await desk.ask("/health"))[1] == second
        assert process_of(desk.proxy.pid, "wsproxy-admin") == admin


async def test_connections_without_a_handshake_shut_nobody_out(tmp_path: Path) -> None:
    """Whoever has shown nothing for the longest time makes room."""
    async with running(tmp_path) as desk, AsyncExitStack() as stack:
        silent = []
        for _ in range(MOST_CONNECTIONS + 6):
            reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
            stack.callback(writer.close)
            silent.append(reader)
        assert (await desk.ask("/metrics"))[0].startswith(b"HTTP/1.1 200 ")
        for reader in silent[:7]:  # cut
            with suppress(ConnectionResetError):
                assert await reader.read() == b""


@pytest.mark.parametrize(
    ("password", "found"),
    [
        (None, "found a private key that does not belong to the first certificate"),
        (b"secret", "found a key in .*/other.key' that is encrypted; allowed is one without a password"),
    ],
)  # fmt: skip
async def test_files_that_cannot_be_used_are_refused_at_the_start(
    tmp_path: Path, password: bytes | None, found: str
) -> None:
    """Of another certificate, or with a password, for which there is no setting."""
    authority = Authority()
    authority.issue("admin.example").write_pem(tmp_path, "admin")
    authority.issue("admin.example").write_pem(tmp_path, "other", password)
    write(tmp_path / "token", f"{TOKEN}\n").chmod(0o600)
    server = '<Server Name="s"><Transport Hostname="h" Port="1"/></Server>'
    cluster = f'<ServerCluster Name="c">{server}</ServerCluster><Route ServerCluster="c"/>'
    config = write(tmp_path / "plugin-cfg.xml", f"<Config>{cluster}</Config>")
    settings = write(tmp_path / "wsproxy.toml", SETTINGS.replace("admin.key", "other.key"))
    done = await asyncio.to_thread(run_command, "run", str(config), "--settings", str(settings))
    assert done.returncode == 2
    assert re.search(f"wsproxy.toml:5: admin.certificate: {found}", done.stderr), done.stderr
