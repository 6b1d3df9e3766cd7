"""Each Liberty server writes a plugin-cfg.xml of its own: wsproxy serves what they say together, while they come, change and go."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.client import ask, get
from tests.support.command import run_command
from tests.support.origin import Origin, keep_answering
from tests.support.proxy import proxy_process, write

IN_USE = r"generation {} of the configuration is in use"


def part(folder: Path, name: str, origin: Origin, attributes: str = "") -> Path:
    """What the server NAME writes for the application that all of them have, and one of its own."""
    return write(
        folder / f"{name}.xml",
        f"""<Config {attributes}>
<VirtualHostGroup Name="default_host"><VirtualHost Name="*:*"/></VirtualHostGroup>
<ServerCluster Name="{name}_Cluster"><Server Name="{name}" CloneID="{name}"><Transport Hostname="127.0.0.1" Port="{origin.port}"/></Server></ServerCluster>
<UriGroup Name="{name}_URIs"><Uri Name="/shop/*"/></UriGroup>
<Route ServerCluster="{name}_Cluster" UriGroup="{name}_URIs" VirtualHostGroup="default_host"/></Config>""",
    )


async def served_by(port: int, origins: dict[str, Origin], count: int = 12) -> Counter[str]:
    """Who got new connections of so many requests; each has one of its own at its server."""
    before = {name: origin.accepted for name, origin in origins.items()}
    for _ in range(count):
        assert (await ask(port, get("/shop/x", "Connection: close"))).status == 200
    return Counter(
        {
            name: origin.accepted - before[name]
            for name, origin in origins.items()
            if origin.accepted > before[name]
        }
    )


async def test_folder_is_served_as_one_and_followed(tmp_path: Path) -> None:
    """One server is added and one removed while it runs; a file that contradicts the others changes nothing."""
    folder = tmp_path / "parts"
    folder.mkdir()
    origins = {name: Origin() for name in ("s1", "s2", "s3")}
    toml = write(
        tmp_path / "wsproxy.toml", "[upstream]\npool_size = 0\n[log]\nmost_a_second = 1000\n"
    )
    arguments = (str(folder), "--settings", str(toml), "--listen", "127.0.0.1:0", "--workers", "1")
    part(folder, "s1", origins["s1"])
    part(folder, "s2", origins["s2"])
    async with AsyncExitStack() as stack:
        for origin in origins.values():
            stack.callback(origin.close)
            await stack.enter_async_context(origin.serving(keep_answering))
        proxy = await stack.enter_async_context(proxy_process(*arguments))
        assert await served_by(proxy.port, origins) == {"s1": 6, "s2": 6}
        part(folder, "s3", origins["s3"])
        await proxy.line(IN_USE.format(2))
        assert await served_by(proxy.port, origins) == {"s1": 4, "s2": 4, "s3": 4}
        (folder / "s1.xml").unlink()
        await proxy.line(IN_USE.format(3))
        assert await served_by(proxy.port, origins) == {"s2": 6, "s3": 6}
        part(folder, "s4", origins["s1"], 'TrustedProxyEnable="true"')
        await proxy.line("the configuration is refused, generation 3 stays")
        await proxy.line(r"s4\.xml.*TrustedProxyEnable")
        assert await served_by(proxy.port, origins) == {"s2": 6, "s3": 6}


def test_files_that_contradict_each_other_do_not_start(tmp_path: Path) -> None:
    origin = Origin()
    origin.close()
    one = part(tmp_path, "s1", origin)
    two = part(tmp_path, "s2", origin, 'TrustedProxyEnable="true"')
    done = run_command("run", str(one), str(two))
    assert done.returncode == 2
    assert "TrustedProxyEnable" in done.stderr
    assert str(two) in done.stderr


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    done = run_command("run", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}: cannot be read: found a folder without a file *.xml" in done.stderr


def test_other_commands_take_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    origin = Origin()
    origin.close()
    for name in ("s1", "s2"):
        part(tmp_path, name, origin)
    assert run_command("check", tmp_path).returncode == 0
    done = run_command("explain", tmp_path, "GET", "http://a/shop/x")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s1" in done.stdout
    assert "s2" in done.stdout
    log = write(
        tmp_path / "access.log",
        '127.0.0.1 - - [30/Nov/2026:08:00:00 +0000] "GET /shop/x HTTP/1.1" 200 2\n',
    )
    for command in ("replay", "simulate"):
        done = run_command(command, "--config", tmp_path, log, "--format", "combined")
        assert done.returncode in (0, 3), done.stdout + done.stderr
        assert "cannot be read" not in done.stderr
