"""
A name server on an address of 127.0.0.0/8, and a command that has one process, and its children, ask it and nobody else.

It needs port 53 and a mount namespace of its own, so root; without, a test that wants it is skipped and says so.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

_HEAD = struct.Struct("!6H")
_A = 1
_ANSWER, _NO_ERROR, _SERVER_FAILED, _NO_SUCH_NAME = 0x8180, 0, 2, 3


@dataclass(slots=True)
class NameServer(asyncio.DatagramProtocol):
    """``hosts``: IPv4 addresses by name, changed while it runs."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    mode: str = "well"  # "servfail", "nxdomain": whatever is asked; "silent": no answer
    asked: int = 0
    prefix: tuple[str, ...] = ()
    _transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self.asked += 1
        if self.mode == "silent":
            return
        number, _, _, _, _, _ = _HEAD.unpack_from(data)
        labels, at = [], _HEAD.size
        while size := data[at]:
            labels.append(data[at + 1 : at + 1 + size].decode())
            at += 1 + size
        question = data[_HEAD.size : at + 5]
        (kind,) = struct.unpack_from("!H", data, at + 1)
        found = self.hosts.get(".".join(labels).lower())
        code = _NO_ERROR if found is not None else _NO_SUCH_NAME
        if self.mode != "well":
            found, code = None, _SERVER_FAILED if self.mode == "servfail" else _NO_SUCH_NAME
        rows = [
            struct.pack("!3HIH4s", 0xC00C, _A, 1, 0, 4, socket.inet_aton(each))
            for each in (found or [])
            if kind == _A
        ]
        head = _HEAD.pack(number, _ANSWER | code, 1, len(rows), 0, 0)
        self._transport.sendto(head + question + b"".join(rows), addr)


def _asking(folder: Path, address: str) -> tuple[str, ...]:
    """A command that becomes the one behind it, with a resolv.conf of its own."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
    script = f'mount --bind "{file}" /etc/resolv.conf && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", script, "sh")
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no resolv.conf of its own for a process: {tried.stderr.decode().strip()}")
    return prefix


@asynccontextmanager
async def name_server(folder: Path) -> AsyncIterator[NameServer]:
    """Whatever is started with its ``prefix`` asks it."""
    address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    prefix = _asking(folder, address)
    loop = asyncio.get_running_loop()
    try:
        transport, server = await loop.create_datagram_endpoint(
            NameServer, local_addr=(address, 53)
        )
    except OSError as error:
        pytest.skip(f"no name server on port 53: {error.strerror}")
    server.prefix = prefix
    try:
        yield server
    finally:
        transport.close()
