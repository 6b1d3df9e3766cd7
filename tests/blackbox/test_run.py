"""The command ``wsproxy run`` as an operator calls it: what it says, and its exit code."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from tests.support.process import WAIT_S, watched_process

CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<Config>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:{port}"/></VirtualHostGroup>
  <ServerCluster Name="cluster"><Server Name="one"><Transport Hostname="127.0.0.1" Port="9" Protocol="http"/></Server></ServerCluster>
  <UriGroup Name="uris"><Uri Name="/app/*"/></UriGroup>
  <Route ServerCluster="cluster" UriGroup="uris" VirtualHostGroup="hosts"/>
</Config>
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A plugin-cfg.xml whose only VirtualHost has a TLS port."""
    file = tmp_path / "plugin-cfg.xml"
    file.write_text(CONFIG.format(port=443))
    return file


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def status_of(host: str, port: int, path: str) -> bytes:
    """The status line that answers a GET of ``path``."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        return await asyncio.wait_for(reader.readline(), WAIT_S)
    finally:
        writer.close()
        await writer.wait_closed()


async def run_to_end(*arguments: object) -> tuple[int, str]:
    """Exit code and standard error of ``wsproxy run ARGUMENTS``."""
    async with watched_process("-m", "wsproxy", "run", *map(str, arguments)) as wsproxy:
        exit_code = await wsproxy.end()
        return exit_code, "".join(wsproxy.lines)


async def test_runs_and_stops(config: Path) -> None:
    """Workers answer on the address of --listen; SIGTERM ends them, and the exit code is 0."""
    async with watched_process(
        "-m", "wsproxy", "run", str(config), "--listen", "127.0.0.1:0", "--workers", "2"
    ) as wsproxy:
        ready = await wsproxy.line(
            r"wsproxy: ready on http://127\.0\.0\.1:(\d+) \(2 workers, pid (\d+)\)"
        )
        assert int(ready[2]) == wsproxy.pid
        assert (await status_of("127.0.0.1", int(ready[1]), "/elsewhere")).startswith(
            b"HTTP/1.1 404 "
        )
        wsproxy.send(signal.SIGTERM)
        assert await wsproxy.end() == 0


async def test_settings_name_listeners_and_workers(config: Path, tmp_path: Path) -> None:
    """What wsproxy.toml says holds where the command line says nothing."""
    settings = tmp_path / "wsproxy.toml"
    settings.write_text(
        'workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "localhost:0"\n'
    )
    async with watched_process(
        "-m", "wsproxy", "run", str(config), "--settings", str(settings)
    ) as wsproxy:
        await wsproxy.line(
            r"ready on http://127\.0\.0\.1:\d+ http://\S+:\d+ .*\(1 workers, pid \d+\)"
        )


async def test_refused_settings_list_all_problems(config: Path, tmp_path: Path) -> None:
    """Exit code 2, every problem with its line, and no traceback."""
    settings = tmp_path / "wsproxy.toml"
    settings.write_text("worker = 1\n[limits]\nhead_bytes = 1\n")
    exit_code, text = await run_to_end(config, "--settings", settings)
    assert exit_code == 2
    assert text.splitlines() == [
        f"{settings}:1: found unknown setting worker; did you mean workers?",
        f"{settings}:3: limits.head_bytes: found 1; allowed is a whole number from 1024 to 1048576",
    ]


async def test_refused_configuration_names_the_line(config: Path) -> None:
    """A plugin-cfg.xml that cannot be used ends the command with exit code 2."""
    write(config, CONFIG.format(port=443).replace('Port="9"', 'Port="nine"'))
    exit_code, text = await run_to_end(config, "--listen", "127.0.0.1:0")
    assert exit_code == 2
    assert f"{config}:4: " in text
    assert "Traceback" not in text


async def test_refused_listen_address_says_what_is_allowed(config: Path) -> None:
    """A text that is no address is an error of usage: exit code 2."""
    exit_code, text = await run_to_end(config, "--listen", "9080")
    assert exit_code == 2
    assert "found '9080'; allowed is HOST:PORT" in text


async def test_nothing_to_listen_on_is_a_start_error(config: Path) -> None:
    """Exit code 1, what was found, and the option that helps."""
    exit_code, text = await run_to_end(config)
    assert exit_code == 1
    assert "port 443 (VirtualHost *:443" in text
    assert "--listen :8080" in text


async def test_port_in_use_is_a_start_error(config: Path) -> None:
    """A second proxy does not slip in beside the first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        exit_code, text = await run_to_end(config, "--listen", address)
    assert exit_code == 1
    assert (
        f"{address} (--listen) is in use by another process\nlisten elsewhere" in text
    )  # in lines
