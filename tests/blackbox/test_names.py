"""Host names of servers: addresses change, name servers fail, and what IgnoreDNSFailures says of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import ask, get
from tests.support.names import NameServer, name_server
from tests.support.origin import Origin, OriginConnection, Script
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Member, Proxy, running_proxy

AT_ONCE = "[upstream]\nresolve_s = 0\n[reload]\nwatch = 'off'\n"
NOT_AGAIN = "[upstream]\nresolve_s = 3600\n[reload]\nwatch = 'off'\n"


def saying(name: str) -> Script:
    """Its name, and the end of the connection: the next request needs another one."""

    async def script(connection: OriginConnection) -> None:
        await connection.request()
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(name)}\r\n\r\n{name}"
        await connection.send(head.encode())

    return script


def farm_of(origin: Origin, host: str) -> Lane:
    """One server of this name, on the port of ``origin``."""
    return Lane("farm", [Member(origin, "s0", host=host)], 'RetryInterval="1"')


@asynccontextmanager
async def running(
    folder: Path,
    names: NameServer,
    origin: Origin,
    host: str,
    settings: str = AT_ONCE,
    config: str = "",
) -> AsyncIterator[Proxy]:
    """Two workers, which ask ``names``, before one server of that name."""
    farm = farm_of(origin, host)
    async with running_proxy(
        [farm], workers=2, settings=settings, config=config, folder=folder, prefix=names.prefix
    ) as proxy:
        yield proxy


def read_again(proxy: Proxy, folder: Path) -> None:
    """Another configuration, as far as anybody can tell."""
    file = folder / "plugin-cfg.xml"
    file.write_text(file.read_text().replace("<Config", '<Config RefreshInterval="9"'))
    os.kill(proxy.pid, signal.SIGHUP)


async def answered(port: int) -> tuple[int, str]:
    answer = await ask(port, get("/farm/x"))
    return answer.status, answer.body.decode()


async def becomes(port: int, wanted: tuple[int, str]) -> None:
    """Waits until so many requests in a row, each at either worker by chance, are answered so."""
    in_a_row = 0
    async with asyncio.timeout(WAIT_S):
        while in_a_row < 12:
            in_a_row = in_a_row + 1 if await answered(port) == wanted else 0


@pytest.mark.parametrize("ignored", ["true", "false"])
async def test_name_that_fails_at_the_start_keeps_nobody_from_starting(
    tmp_path: Path, ignored: str
) -> None:
    """Whatever IgnoreDNSFailures says; and once it resolves the server serves, without a reload."""
    one = Origin()
    config = f'IgnoreDNSFailures="{ignored}"'
    async with (
        name_server(tmp_path) as names,
        one.serving(saying("one")),
        running(tmp_path, names, one, "late.test", config=config) as proxy,
    ):
        assert (await answered(proxy.port))[0] == 503
        names.hosts["late.test"] = ["127.0.0.1"]
        await becomes(proxy.port, (200, "one"))


@pytest.mark.parametrize("settings", [AT_ONCE, NOT_AGAIN], ids=["by itself", "at a reload"])
async def test_changed_address_is_used(tmp_path: Path, settings: str) -> None:
    """When the time of the old one is over, and in any case with the next configuration."""
    one = Origin()
    two = Origin(host="127.0.0.2", port=one.port)
    async with (
        name_server(tmp_path) as names,
        one.serving(saying("one")),
        two.serving(saying("two")),
    ):
        names.hosts["moved.test"] = ["127.0.0.1"]
        async with running(tmp_path, names, one, "moved.test", settings) as proxy:
            await becomes(proxy.port, (200, "one"))
            names.hosts["moved.test"] = ["127.0.0.2"]
            if settings is NOT_AGAIN:
                assert await answered(proxy.port) == (200, "one")
                read_again(proxy, tmp_path)
            await becomes(proxy.port, (200, "two"))
    two.close()


@pytest.mark.parametrize("mode", ["servfail", "nxdomain", "silent"])
async def test_outage_of_name_servers_is_none_of_the_servers(tmp_path: Path, mode: str) -> None:
    """The last addresses hold, also through a reload; a name that nobody ever resolved is still none."""
    one = Origin()
    async with name_server(tmp_path) as names, one.serving(saying("one")):
        names.hosts["known.test"] = ["127.0.0.1"]
        async with running(tmp_path, names, one, "known.test") as proxy:
            await becomes(proxy.port, (200, "one"))
            names.mode = mode
            await becomes(proxy.port, (200, "one"))
            await proxy.line(r"known\.test cannot be resolved: .*; its last addresses are used: 127\.0\.0\.1")  # fmt: skip
            read_again(proxy, tmp_path)
            await proxy.line("generation 2 of the configuration is in use")
            await becomes(proxy.port, (200, "one"))
            assert not [line for line in proxy.lines if "Marking" in line]
            names.mode = "well"
            names.hosts["known.test"] = ["127.0.0.1", "127.0.0.3"]
            async with asyncio.timeout(WAIT_S):
                while not [line for line in proxy.lines if "known.test is resolved again" in line]:
                    await answered(proxy.port)
