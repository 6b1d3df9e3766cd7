"""Another program takes over from the running one: nobody's request fails, and what is known of servers stays."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, IncompleteError, ask, get, request
from tests.support.origin import OK, OriginConnection, keep_answering
from tests.support.process import WAIT_S, wait_for_end, watched_process
from tests.support.proxy import Lane, MakeLane, process_of, processes_of, write
from tests.support.tls_pipe import TlsClient, client_context
from tests.support.upgrading import Load, begin, end, upgrading

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def ids_of(supervisor: int) -> list[int]:
    return processes_of(supervisor, r"wsproxy-\d+")


async def open_tunnel(port: int, lane: Lane) -> tuple[Client, OriginConnection]:
    client = await Client.connect(port)
    fields = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    await client.send(get(f"/{lane.name}/ws", *fields))
    server = await lane.origin.accept()
    await server.head()
    await server.send(SWITCHED)
    assert (await client.head()).status == 101
    return client, server


async def test_no_request_fails_under_load(tmp_path: Path, lane: MakeLane) -> None:
    """Clients that keep their connection and clients with one for each request, over three upgrades in a row."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        load = Load(partial(Client.connect, made.proxy.port), "/one/a")
        async with load.running():
            for _ in range(3):
                old = await made.upgrade()
                await load.progress()
                await made.gone(old)
        assert load.failed == []
        assert (await made.in_flight()) == {"one/s0": 0}


async def test_no_handshake_fails_under_load(tmp_path: Path, lane: MakeLane) -> None:
    one, authority = lane("one"), Authority("one")
    authority.issue("shop.example").write_pem(tmp_path, "shop")
    settings = (
        '[[listener]]\naddress = "127.0.0.1:0"\n'
        'certificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
        '[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = ["127.0.0.0/8"]\n'
    )
    async with (
        one.origin.serving(keep_answering),
        upgrading(tmp_path, [one], settings=settings, listen=None) as made,
    ):
        tls, introduced = made.proxy.ports
        context = client_context(authority.write_pem(tmp_path))

        async def introduce() -> Client:
            client = await Client.connect(introduced)
            await client.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 7 8\r\n")
            return client

        secure = Load(partial(TlsClient.open, tls, context), "/one/a")
        told = Load(introduce, "/one/b")
        async with secure.running(2, 2), told.running(2, 2):
            for _ in range(2):
                await made.upgrade()
                await secure.progress()
                await told.progress()
        assert secure.failed == told.failed == []


async def first_asked(*servers: OriginConnection) -> OriginConnection:
    """The one of these warm connections that the next request comes over; others may end meanwhile."""
    asked = {begin(server.head()): server for server in servers}
    while True:
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            server = asked.pop(each)
            if each.exception() is None:
                for left in asked:
                    left.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
                return server


async def test_what_runs_goes_on_to_its_end(tmp_path: Path, lane: MakeLane) -> None:
    """A download and an upload that are under way, over two upgrades; requests in flight are counted over all programs."""
    one = lane("one")
    async with upgrading(tmp_path, [one]) as made:
        port = made.proxy.port
        async with await Client.connect(port) as down, await Client.connect(port) as up:
            await down.send(get("/one/down"))
            source = await one.origin.accept()
            await source.head()
            await source.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
            await up.send(request("POST", "/one/up", "Content-Length: 8") + b"half")
            sink = await one.origin.accept()
            await sink.head()
            first = await made.upgrade()
            assert await made.in_flight() == {"one/s0": 2}
            _, status = await made.ask("GET", "/v1/servers")
            assert {each["pid"] for each in status["retiring"]} == set(ids_of(first))
            _, running = await made.ask("GET", "/v1/requests")
            assert {row["request"] for row in running["requests"]} == {
                "GET /one/down",
                "POST /one/up",
            }
            second = await made.upgrade()
            assert await made.in_flight() == {"one/s0": 2}
            await source.send(b"rest")
            assert (await down.answer()).body == b"halfrest"
            await up.send(b"rest")
            await sink.exactly(8)
            await sink.send(OK)
            assert (await up.answer()).closes
            # It was told that its connection goes on, and its worker has a warm one to the server.
            await down.send(get("/one/a"))
            await (await first_asked(source, sink)).send(OK)
            last = await down.answer()
            assert (last.status, last.closes) == (200, True)
            await made.gone(first)
            await made.gone(second)
            assert await made.in_flight() == {"one/s0": 0}


async def test_admin_process_by_tcp_and_a_drained_proxy_stay(
    tmp_path: Path, lane: MakeLane
) -> None:
    """The same port answers, of the new program; what operators said of the whole proxy holds, and ends by their word."""
    one = lane("one")
    async with (
        one.origin.serving(keep_answering),
        upgrading(tmp_path, [one], admin='listen = "127.0.0.1:0"\n') as made,
    ):
        found = await made.proxy.line(r"admin, metrics and health on http://127\.0\.0\.1:(\d+)")
        port = int(found[1])
        assert (await ask(port, get("/ready"))).status == 200
        assert (await made.ask("POST", "/v1/drain-all", b"{}"))[0] == 200
        old = await made.upgrade()
        await made.gone(old)
        assert (await ask(port, get("/ready"))).status == 503
        assert (await made.ask("POST", "/v1/resume-all", b"{}"))[0] == 200
        assert (await ask(port, get("/ready"))).status == 200
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200


async def test_admin_port_that_is_taken_leaves_the_admin_socket_as_it_is(
    tmp_path: Path, lane: MakeLane
) -> None:
    """A new program that is refused takes nothing with it: the old one can still be asked, also for the next try."""
    one = lane("one")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
            made.proxy.expected.append("upgrade: the new program does not come up")
            before = made.settings.read_text()
            text = before.replace("[admin]\n", f'[admin]\nlisten = "127.0.0.1:{port}"\n')
            made.settings.write_text(text)
            assert f'found "127.0.0.1:{port}", where nobody can listen' in await made.refused()
            assert (await made.ask("GET", "/v1/status"))[0] == 200
            made.settings.write_text(before)
            await made.gone(await made.upgrade())


async def test_admin_port_that_is_not_wanted_any_more_is_closed(
    tmp_path: Path, lane: MakeLane
) -> None:
    """A port that the new wsproxy.toml does not name refuses; it would hang, as nobody takes what waits there."""
    one = lane("one")
    async with (
        one.origin.serving(keep_answering),
        upgrading(tmp_path, [one], admin='listen = "127.0.0.1:0"\n') as made,
    ):
        found = await made.proxy.line(r"admin, metrics and health on http://127\.0\.0\.1:(\d+)")
        text = made.settings.read_text()
        made.settings.write_text(text.replace('listen = "127.0.0.1:0"\n', ""))
        old = await made.upgrade()
        await made.gone(old)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(found[1]))
        assert (await ask(made.proxy.port, get("/one/x"))).status == 200


async def test_metrics_go_on_and_no_end_of_a_worker_counts_as_a_death(
    tmp_path: Path, lane: MakeLane
) -> None:
    """Counters of Prometheus hold over both programs, three times: rows of the first one are used again by the third."""
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:

        async def count(name: str) -> float:
            async with asyncio.timeout(WAIT_S):
                reader, writer = await asyncio.open_unix_connection(made.socket)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                page = (await reader.read()).decode()
                writer.close()
            return sum(
                float(line.rpartition(" ")[2])
                for line in page.splitlines()
                if re.match(rf"wsproxy_{name}[{{ ]", line)
            )

        for asked in range(1, 4):
            assert (await ask(made.proxy.port, get("/one/x"))).status == 200
            async with asyncio.timeout(WAIT_S):
                while await count("server_answers_total") < asked:  # noqa: ASYNC110  # another process counts
                    await asyncio.sleep(0.05)
            old = await made.upgrade()
            await made.gone(old)
            found = {name: await count(name) for name in ("server_answers_total", "requests_total", "server_requests_total")}  # fmt: skip
            assert set(found.values()) == {asked}, found
        assert await count("worker_deaths_total") == 0
        assert await count("open_client_connections") == 0


async def test_heat_of_the_dashboard_goes_on(tmp_path: Path, lane: MakeLane) -> None:
    """The new program's admin process knows when the last look was, and takes none before its time."""
    async with upgrading(tmp_path, [lane("one")]) as made:
        loop = asyncio.get_running_loop()
        _, first = await made.ask("GET", "/v1/heat")
        began = loop.time()
        assert [each["server"] for each in first["servers"]] == ["s0"]
        await made.upgrade()
        _, then = await made.ask("GET", "/v1/heat")
        passed = loop.time() - began
        assert then["pid"] != first["pid"]
        assert [each["server"] for each in then["servers"]] == ["s0"]
        assert first["age_s"] + passed - 1 < then["age_s"] < first["age_s"] + passed + 1
        assert passed > 0.2


async def test_idle_connection_ends_behind_its_next_answer(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        async with (
            await Client.connect(made.proxy.port) as kept,
            await Client.connect(made.proxy.port) as new,
        ):
            assert not (await kept.ask(get("/one/a"))).closes
            old = await made.upgrade()
            assert (await kept.ask(get("/one/b"))).closes
            assert (await new.ask(get("/one/c"))).closes, "it was accepted by the old program"
        await made.gone(old)
        async with await Client.connect(made.proxy.port) as client:
            assert not (await client.ask(get("/one/d"))).closes


async def test_tunnels_live_on_and_end_one_after_the_other(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with upgrading(tmp_path, [one], workers=1) as made:
        # What the new program reads holds for the old one.
        made.settings.write_text(made.settings.read_text() + "[upgrade]\ntunnels_s = 4.0\n")
        tunnels = [await open_tunnel(made.proxy.port, one) for _ in range(4)]
        old = await made.upgrade()
        for client, server in tunnels:
            await client.send(b"ping")
            assert await server.exactly(4) == b"ping"
        loop = asyncio.get_running_loop()
        ended: list[float] = []

        async def follow(server: OriginConnection) -> None:
            await server.end()
            ended.append(loop.time())

        await asyncio.gather(*(follow(server) for _, server in tunnels))
        assert len({round(at, 1) for at in ended}) > 1, "not all at once"
        await made.gone(old)
        assert await made.in_flight() == {"one/s0": 0}
        for client, _ in tunnels:
            client.sock.close()


async def test_request_that_takes_too_long_is_cut(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with (
        upgrading(tmp_path, [one], workers=1) as made,
        await Client.connect(made.proxy.port) as client,
    ):
        await client.send(get("/one/a"))
        server = await one.origin.accept()
        await server.head()
        limits = "[upgrade]\nrequests_s = 0.5\ntunnels_s = 0.5\n"
        made.settings.write_text(made.settings.read_text() + limits)
        old = await made.upgrade()
        await made.gone(old)
        with pytest.raises((IncompleteError, ConnectionError)):
            await client.answer()
        assert await made.in_flight() == {"one/s0": 0}


async def test_what_is_known_of_servers_stays(tmp_path: Path, lane: MakeLane) -> None:
    """A mark, an operator's drain with its reason, another weight, counts, and what became of reloads."""
    one = lane("one", 3, attributes='RetryInterval="3600"')
    one.members[2].origin.refuse()
    async with (
        one.members[0].origin.serving(keep_answering),
        one.members[1].origin.serving(keep_answering),
        upgrading(tmp_path, [one], settings='[reload]\nwatch = "off"\n') as made,
    ):
        made.proxy.expected.append("refused|found")
        await made.ask("POST", "/v1/drain", b'{"target": "one/s1", "reason": "new kernel"}')
        await made.ask("POST", "/v1/set", b'{"target": "one/s0", "weight": 7}')
        while not await is_marked(made.ask):
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        await made.ask("POST", "/v1/reload")
        file = tmp_path / "plugin-cfg.xml"
        good = file.read_text()
        file.write_text("<Config>")
        await made.ask("POST", "/v1/reload")
        file.write_text(good)
        gauge = b"\nwsproxy_reload_last_successful %d\n"
        assert gauge % 0 in await made.metrics()
        _, before = await made.ask("GET", "/v1/servers")
        await made.upgrade()
        _, after = await made.ask("GET", "/v1/servers")
        names = (
            "server",
            "state",
            "hold",
            "why",
            "marked_down",
            "weight",
            "requests",
            "errors",
        )
        assert [[row[name] for name in names] for row in after["servers"]] == [
            [row[name] for name in names] for row in before["servers"]
        ]
        assert after["reloads"] == before["reloads"]
        assert gauge % 1 in await made.metrics(), "it has read the files anew"
        assert after["config"]["generation"] == 2
        _, history = await made.ask("GET", "/v1/history")
        assert history["entries"][-1]["who"].startswith("upgrade by ")
        assert history["generation"] == 2
        for _ in range(4):
            assert (await ask(made.proxy.port, get("/one/a"))).status == 200
        _, last = await made.ask("GET", "/v1/servers")
        assert last["servers"][1]["requests"] == after["servers"][1]["requests"], "still drained"


async def is_marked(ask_admin: Callable[..., object]) -> bool:
    _, answer = await ask_admin("GET", "/v1/servers")  # type: ignore[misc]
    return bool(answer["servers"][2]["marked_down"])


async def test_limit_of_a_server_holds_over_both_programs(tmp_path: Path, lane: MakeLane) -> None:
    """A place that the old program's request has is nobody's until it ends; who waits in the queue gets it then."""
    one = lane("one", server='MaxConnections="1"')
    async with (
        upgrading(tmp_path, [one], workers=1, settings="[queue]\nsize = 5\n") as made,
        await Client.connect(made.proxy.port) as old,
    ):
        await old.send(get("/one/old"))
        server = await one.origin.accept()
        await server.head()
        await made.upgrade()
        async with await Client.connect(made.proxy.port) as new:
            await new.send(get("/one/new"))
            while (await made.ask("GET", "/v1/requests"))[1]["total"] < 2:  # noqa: ASYNC110  # another process is asked
                await asyncio.sleep(0.02)
            assert not one.origin.has_waiting()
            await server.send(OK)
            assert (await old.answer()).status == 200
            async with one.origin.serving(keep_answering):
                assert (await new.answer()).status == 200


async def test_other_settings_are_taken_over(tmp_path: Path, lane: MakeLane) -> None:
    """More workers, then fewer, under load; a listener that comes and one that goes; http://... of the others stays."""
    one = lane("one")
    settings = 'workers = 2\n[[listener]]\naddress = "127.0.0.1:0"\n'
    async with (
        one.origin.serving(keep_answering),
        upgrading(tmp_path, [one], workers=None, settings=settings, listen=None) as made,
    ):
        load = Load(partial(Client.connect, made.proxy.port), "/one/a")
        text = made.settings.read_text()
        async with load.running():
            for workers in (4, 1, 3, 2):
                made.settings.write_text(text.replace("workers = 2", f"workers = {workers}"))
                await made.upgrade()
                await load.progress()
                assert len(ids_of(made.pid)) == workers
            two = '[[listener]]\naddress = "127.0.0.2:0"\n'
            made.settings.write_text(text + two)
            start = len(made.proxy.lines)
            await made.upgrade()
            found = await made.proxy.line(
                r"ready on http://127.0.0.1:\d+ http://127.0.0.2:(\d+)", start
            )
            async with await Client.connect(int(found[1]), host="127.0.0.2") as other:
                assert (await other.ask(get("/one/a"))).status == 200
            made.settings.write_text(text)
            old = await made.upgrade()
            await made.gone(old)
            with pytest.raises(ConnectionRefusedError):
                await Client.connect(int(found[1]), host="127.0.0.2")
        assert load.failed == []


async def test_what_cannot_be_used_changes_nothing(tmp_path: Path, lane: MakeLane) -> None:
    """The old program goes on, says why, and reloads as before."""
    one, two = lane("one"), lane("two")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        load = Load(partial(Client.connect, made.proxy.port), "/one/a")
        xml = (tmp_path / "plugin-cfg.xml").read_text()
        text = made.settings.read_text()
        async with load.running():
            made.settings.write_text(text + "[limits]\nclient_connections = -7\n")
            assert "wsproxy.toml" in (why := await made.refused()), why
            assert "client_connections: found -7" in why
            made.settings.write_text(text + '[[listener]]\naddress = "192.0.2.1:80"\n')
            (tmp_path / "plugin-cfg.xml").write_text(xml.replace('Port="', 'Port="x'))
            assert "plugin-cfg.xml:1: found" in await made.refused()
            made.settings.write_text(text)
            (tmp_path / "plugin-cfg.xml").write_text(
                xml.replace("</Config>", f"{two.xml()}</Config>")
            )
            await made.proxy.line(r"generation \d of the configuration is in use")
            await made.upgrade()
            await load.progress()
        assert load.failed == []


async def test_command_says_what_became_of_it(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with upgrading(tmp_path, [one]) as made:
        code, out, err = await command(made.socket)
        made.pid = int(out.split()[1])
        made.pids.append(made.pid)
        assert (code, err) == (0, "")
        assert out.endswith(" s\n")
        made.settings.write_text("no toml")
        code, out, err = await command(made.socket)
        assert (code, out) == (1, "")
        assert f"pid {made.pid} goes on" in err
        assert "wsproxy.toml:1" in err


async def command(socket: Path) -> tuple[int | None, str, str]:
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "wsproxy", "upgrade", "--socket", str(socket)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(made.communicate(), 4 * WAIT_S)
    return made.returncode, out.decode(), err.decode()


async def test_program_that_is_installed_by_now_takes_over(tmp_path: Path, lane: MakeLane) -> None:
    """A script is started as such: behind a link that leads elsewhere now, with the interpreter that its first line names."""
    one = lane("one")
    xml = write(tmp_path / "plugin-cfg.xml", f"<Config>{one.xml()}</Config>")
    toml = write(tmp_path / "wsproxy.toml", f'[admin]\nsocket = "{tmp_path}/admin.sock"\n')
    link = tmp_path / "current"
    for version in (1, 2):
        folder = tmp_path / f"v{version}"
        folder.mkdir()
        script = f"#!{sys.executable}\nimport sys\nfrom wsproxy.cli.main import main\n"
        script += f"print('this is {version}', file=sys.stderr, flush=True)\nmain()\n"
        write(folder / "wsproxy", script).chmod(0o755)
    link.symlink_to("v1")
    arguments = ("run", str(xml), "--settings", str(toml), "--listen", "127.0.0.1:0")
    async with watched_process(str(link / "wsproxy"), *arguments) as process:
        await process.line("this is 1")
        await process.line("ready on")
        link.unlink()
        link.symlink_to("v2")
        code, out, _ = await command(tmp_path / "admin.sock")
        new = int(out.split()[1])
        try:
            assert code == 0
            await process.line("this is 2")
            await process.line(rf"ready on .*pid {new}")
        finally:
            await end(new)


async def test_state_of_another_version_begins_anew(tmp_path: Path, lane: MakeLane) -> None:
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        await made.ask("POST", "/v1/set", b'{"target": "one/s0", "weight": 7}')
        spoil_layout(made.pid)
        await made.upgrade()
        await made.proxy.line(
            "the state of servers is that of another version of wsproxy: it begins anew"
        )
        _, answer = await made.ask("GET", "/v1/servers")
        assert answer["servers"][0]["weight"] == answer["servers"][0]["configured_weight"]
        assert (await ask(made.proxy.port, get("/one/a"))).status == 200


def spoil_layout(pid: int) -> None:
    """The shared state is that of another version from now on."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:wsproxy-state" in os.readlink(link):
            with link.open("r+b", buffering=0) as file:
                file.write(b"other   ")
            return
    raise AssertionError("no shared state")


async def test_stop_ends_all_programs(tmp_path: Path, lane: MakeLane) -> None:
    """SIGTERM to the new one, while a tunnel keeps the old one: that gets shutdown_s and no more."""
    one = lane("one")
    settings = "[timeouts]\nshutdown_s = 0.5\n"
    async with upgrading(tmp_path, [one], workers=1, settings=settings) as made:
        client, _ = await open_tunnel(made.proxy.port, one)
        made.proxy.expected += ["requests did not end within"]
        await made.upgrade()
        pidfd = os.pidfd_open(made.proxy.pid)
        await end(made.pid)
        assert await asyncio.to_thread(wait_for_end, pidfd)
        os.close(pidfd)
        with pytest.raises((IncompleteError, ConnectionError)):
            await client.answer()
        client.sock.close()


async def test_signal_to_stop_while_the_new_one_begins_ends_both(
    tmp_path: Path, lane: MakeLane
) -> None:
    one = lane("one")
    async with upgrading(tmp_path, [one]) as made:
        asking = begin(made.ask("POST", "/v1/upgrade"))
        new = await made.started()
        pidfd = os.pidfd_open(new)
        os.kill(made.proxy.pid, signal.SIGTERM)
        assert await asyncio.to_thread(wait_for_end, pidfd)
        os.close(pidfd)
        await asyncio.wait_for(made.proxy.watch.exited.wait(), WAIT_S)
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_program_that_runs_loads_no_code_that_was_installed_since(
    tmp_path: Path, lane: MakeLane
) -> None:
    """
    As between `pip install` and `wsproxy upgrade`: what is imported for the first time then would be the other version's.

    Every process has been started once: those that start on demand, and again when they died.
    """
    one = lane("one")
    async with one.origin.serving(keep_answering), upgrading(tmp_path, [one]) as made:
        code = loaded_modules(made.proxy.pid)
        assert (await made.ask("GET", "/v1/servers"))[0] == 200
        for name in ("wsproxy-admin", "wsproxy-loader"):
            child = process_of(made.proxy.pid, name)
            assert loaded_modules(child) <= code
            made.proxy.expected.append("was killed by")
            os.kill(child, signal.SIGKILL)
            await made.proxy.line(rf"\(pid {child}\) was killed by")
        assert (await made.ask("GET", "/v1/servers"))[0] == 200
        await made.gone(await made.upgrade())


def loaded_modules(pid: int) -> set[str]:
    """Compiled modules and libraries that the process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.rpartition(" ")[2] for line in lines if line.endswith(".so")}
