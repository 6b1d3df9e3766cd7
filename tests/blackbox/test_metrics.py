"""Metrics, health and the drain of a whole proxy, at the real process: exact over workers, through their deaths and reloads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority
from tests.support.client import Answer, Client, ask, get
from tests.support.command import run_command
from tests.support.origin import OriginConnection, Script, answering
from tests.support.process import WAIT_S
from tests.support.promtool import promtool
from tests.support.proxy import Lane, Proxy, lane, process_of, processes_of, running_proxy, write
from wsproxy.dataplane.sweeper import SWEEP_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TOKEN = "a-token-of-this-test"
Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


@dataclass(slots=True)
class Bed:
    """A proxy that answers by TCP, and its files."""

    proxy: Proxy
    folder: Path
    admin: int

    async def asked(
        self, path: str, *, method: str = "GET", token: str = TOKEN, body: str = ""
    ) -> Answer:
        """By TCP; ``token`` empty: none is shown."""
        lines = [f"Authorization: Bearer {token}"] if token else []
        head = "\r\n".join(
            [f"{method} {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *lines]
        )
        return await ask(self.admin, f"{head}\r\n\r\n{body}".encode())

    async def page(self) -> bytes:
        answer = await self.asked("/metrics")
        assert answer.status == 200
        assert answer.get(b"content-type") == b"text/plain; version=0.0.4; charset=utf-8"
        return answer.body

    async def samples(self) -> Samples:
        found: Samples = {}
        for family in text_string_to_metric_families((await self.page()).decode()):
            for each in family.samples:
                found.setdefault(each.name, {})[frozenset(each.labels.items())] = each.value
        return found

    async def total(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        rows = (await self.samples()).get(name, {})
        return sum(value for row, value in rows.items() if labels.items() <= row)

    async def until(self, wanted: float, name: str, **labels: str) -> None:
        """A connection's end, say, is told a moment after its client knows."""
        while await self.total(name, **labels) != wanted:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.02)

    async def run(self, *words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(
            run_command, *words, "--socket", str(self.folder / "admin.sock")
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@asynccontextmanager
async def running(
    folder: Path,
    *lanes: Lane,
    workers: int = 2,
    settings: str = "",
    token: str = TOKEN,
    listen: str | None = "127.0.0.1:0",
    script: Script | None = None,
    asked_at: str = '"127.0.0.1:0"',
) -> AsyncIterator[Bed]:
    """All servers answer with 200, or by ``script``; without ``token`` none is asked for."""
    admin = f'[admin]\nsocket = "admin.sock"\nlisten = {asked_at}\n'
    if token:
        write(folder / "token", token + "\n").chmod(0o600)
        admin += 'token_file = "token"\n'
    async with contextlib.AsyncExitStack() as stack:
        for each in lanes:
            for member in each.members:
                await stack.enter_async_context(member.origin.serving(script or answering(OK)))
        proxy = await stack.enter_async_context(
            running_proxy(
                lanes, workers=workers, settings=admin + settings, folder=folder, listen=listen
            )
        )
        found = await proxy.line(r"admin, metrics and health on http://[\d.]+:(\d+)")
        yield Bed(proxy, folder, int(found[1]))


async def test_counts_are_exact_over_workers_and_their_deaths(tmp_path: Path) -> None:
    """Whoever served a request, and whatever became of him since; the page is one that Prometheus takes."""
    async with running(tmp_path, lane("farm", 2)) as bed:
        for _ in range(30):
            assert (await ask(bed.proxy.port, get("/farm/x"))).status == 200
        await asyncio.gather(*(ask(bed.proxy.port, get("/farm/x")) for _ in range(30)))
        assert await bed.total("wsproxy_requests_total") == 60
        assert await bed.total("wsproxy_server_answers_total", code="2xx") == 60
        assert await bed.total("wsproxy_request_duration_seconds_count") == 60
        assert await bed.total("wsproxy_server_requests_total") == 60
        await bed.until(0, "wsproxy_open_client_connections")
        async with await Client.connect(bed.proxy.port) as held:
            await held.ask(get("/farm/x"))
            assert await bed.total("wsproxy_open_client_connections") == 1
            bed.proxy.expected.append("was killed by")
            for killed in bed.proxy.workers():
                os.kill(killed, signal.SIGKILL)
                await bed.proxy.line(rf"\(pid {killed}\) was killed by")
        await bed.until(2, "wsproxy_worker_deaths_total")
        await bed.until(0, "wsproxy_open_client_connections")
        assert await bed.total("wsproxy_server_answers_total", code="2xx") == 61
        for _ in range(9):
            assert (await ask(bed.proxy.port, get("/farm/x"))).status == 200
        assert (await ask(bed.proxy.port, get("/nowhere"))).status == 404
        assert await bed.total("wsproxy_server_answers_total", code="2xx") == 70
        assert await bed.total("wsproxy_requests_total") == 71
        assert await bed.total("wsproxy_own_answers_total", cluster="", code="404") == 1
        assert await bed.total("wsproxy_client_connections_total") == 71
        page = await bed.page()
    assert promtool("check", "metrics", data=page) == ""


async def test_counts_go_on_through_a_reload_and_end_with_their_server(tmp_path: Path) -> None:
    farm = lane("farm", 2)
    async with running(tmp_path, farm) as bed:
        for _ in range(8):
            assert (await ask(bed.proxy.port, get("/farm/x"))).status == 200
        before = await bed.total("wsproxy_server_answers_total", server="s0")
        assert 0 < before < 8
        smaller = Lane("farm", farm.members[:1])
        new = write(tmp_path / "new", f"<Config>{smaller.xml()}</Config>")
        new.rename(tmp_path / "plugin-cfg.xml")
        await bed.run("reload")
        await bed.until(2, "wsproxy_config_generation")
        await bed.until(0, "wsproxy_server_state", server="s1")
        assert await bed.total("wsproxy_server_answers_total", server="s0") == before
        assert (await ask(bed.proxy.port, get("/farm/x"))).status == 200
        assert await bed.total("wsproxy_server_answers_total") == before + 1
        assert await bed.total("wsproxy_reloads_total", result="in_use") == 1
        assert await bed.total("wsproxy_reload_last_successful") == 1
        assert await bed.total("wsproxy_reload_last_success_timestamp_seconds") > 0
        bed.proxy.expected.append("found")
        write(tmp_path / "plugin-cfg.xml", "<Config>")
        await bed.until(1, "wsproxy_reloads_total", result="refused")
        assert await bed.total("wsproxy_reload_last_successful") == 0
        assert await bed.total("wsproxy_config_generation") == 2


async def test_reloads_are_told_as_status_tells_them(tmp_path: Path) -> None:
    """One count: in_use, refused and failed as ``status`` has them; a dry run, refused or not, is in neither."""

    async def told(bed: Bed) -> tuple[dict[str, float], float]:
        samples = await bed.samples()
        rows = samples["wsproxy_reloads_total"].items()
        found = {dict(labels)["result"]: count for labels, count in rows}
        status = json.loads(await bed.run("status", "--json"))["reloads"]
        assert status == {
            "accepted": found["in_use"], "refused": found["refused"], "failed": found["failed"], "undone": 0,
        }  # fmt: skip
        return found, samples["wsproxy_reload_last_successful"][frozenset()]

    async with running(tmp_path, lane("farm"), settings='[reload]\nwatch = "off"\n') as bed:
        bed.proxy.expected.append("found|refused")
        none = dict.fromkeys(("in_use", "unchanged", "refused", "failed"), 0)
        assert await told(bed) == (none, 1)
        file = tmp_path / "plugin-cfg.xml"
        good = file.read_text()
        file.write_text("<Config>")
        await bed.run("reload", "--dry-run", code=1)
        assert await told(bed) == (none, 1)
        assert await bed.total("wsproxy_reload_last_attempt_timestamp_seconds") == 0
        await bed.run("reload", code=1)
        assert await told(bed) == ({**none, "refused": 1}, 0)
        file.write_text(good.replace("<Config", '<Config RefreshInterval="77"', 1))
        await bed.run("reload", "--dry-run")
        assert await told(bed) == ({**none, "refused": 1}, 0)
        await bed.run("reload")
        await bed.run("reload")
        await bed.run("rollback")
        assert await told(bed) == ({**none, "in_use": 2, "unchanged": 1, "refused": 1}, 1)


async def test_failures_retries_and_clients_that_left(tmp_path: Path) -> None:
    farm = lane("farm", 2)
    async with running(tmp_path, farm, workers=1) as bed:
        farm.members[0].origin.refuse()
        for _ in range(4):
            assert (await ask(bed.proxy.port, get("/farm/x"))).status == 200
        assert await bed.total("wsproxy_server_failures_total", server="s0", reason="connect") == 1
        assert await bed.total("wsproxy_server_retries_total", server="s0", to="other") == 1
        assert await bed.total("wsproxy_server_marked_down_total", server="s0") == 1
        assert await bed.total("wsproxy_server_state", server="s0", state="down") == 1
        assert await bed.total("wsproxy_server_answers_total", server="s1") == 4
        assert await bed.total("wsproxy_server_connect_seconds_count", server="s1") == 1
        assert await bed.total("wsproxy_server_reused_connections_total", server="s1") == 3
        await bed.until(1, "wsproxy_server_idle_connections", server="s1")


async def test_handshakes_and_certificates(tmp_path: Path) -> None:
    """New ones, one that takes up a session of before, and one that is none."""
    authority = Authority()
    issued = authority.issue("shop.example", ends_days=20)
    issued.write_pem(tmp_path, "shop")
    settings = '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
    async with running(tmp_path, lane("farm"), settings=settings, listen=None) as bed:
        port = bed.proxy.port
        context = ssl.create_default_context(cadata=authority.certificate.public_bytes(Encoding.PEM).decode())  # fmt: skip
        context.maximum_version = ssl.TLSVersion.TLSv1_2

        def shake(session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
            with (
                socket.create_connection(("127.0.0.1", port), WAIT_S) as sock,
                context.wrap_socket(sock, server_hostname="shop.example", session=session) as tls,
            ):
                tls.sendall(get("/farm/x", "Connection: close"))
                while tls.recv(4096):
                    pass
                return tls.session

        session = await asyncio.to_thread(shake)
        await asyncio.to_thread(shake, session)
        async with await Client.connect(port) as client:
            await client.send(b"\x16\x03\x01\x00\x05hello")
            await client.rest()
        for result in ("full", "resumed", "failed"):
            await bed.until(1, "wsproxy_tls_handshakes_total", result=result)
        ends_at = await bed.total("wsproxy_certificate_expiry_timestamp_seconds", certificate=str(tmp_path / "shop.pem"))  # fmt: skip
        assert ends_at == issued.certificate.not_valid_after_utc.timestamp()
        assert await bed.total("wsproxy_server_answers_total") == 2


@pytest.mark.parametrize("token", [TOKEN, ""])
async def test_what_may_be_asked_by_tcp(tmp_path: Path, token: str) -> None:
    """Health without a token; the rest with it, and without one no more than metrics. The first question starts the process."""
    async with running(tmp_path, lane("farm"), workers=1, token=token) as bed:
        assert processes_of(bed.proxy.pid, "wsproxy-admin") == []
        health = await bed.asked("/health", token="")
        assert (health.status, json.loads(health.body)) == (200, {"status": "alive"})
        ready = await bed.asked("/ready", token="")
        assert (ready.status, json.loads(ready.body)) == (200, {"ready": True, "why": ""})
        first = process_of(bed.proxy.pid, "wsproxy-admin")
        assert (await bed.asked("/metrics", token="")).status == (401 if token else 200)
        refused = await bed.asked("/v1/servers", token="not the token that it is")
        assert refused.status == (401 if token else 403)
        assert refused.get(b"www-authenticate") == (b"Bearer" if token else None)
        assert (await bed.asked("/v1/servers")).status == (200 if token else 403)
        bed.proxy.expected.append("was killed by")
        os.kill(first, signal.SIGKILL)
        await bed.proxy.line(r"admin process .* was killed by")
        assert (await bed.asked("/ready", token="")).status == 200  # by another one
        assert not any(TOKEN in line for line in bed.proxy.lines)


async def test_address_that_others_reach_must_be_said_to_be_unencrypted(tmp_path: Path) -> None:
    """Then it is as any other one: nothing without the token."""
    where = '"0.0.0.0:0"\nunencrypted = true'
    async with running(tmp_path, lane("farm"), workers=1, asked_at=where) as bed:
        assert (await bed.asked("/health", token="")).status == 200
        assert (await bed.asked("/metrics", token="")).status == 401
        assert (await bed.asked("/metrics")).status == 200
    settings = (tmp_path / "wsproxy.toml").read_text()
    (tmp_path / "wsproxy.toml").write_text(settings.replace("unencrypted = true\n", ""))
    files = tmp_path / "plugin-cfg.xml", tmp_path / "wsproxy.toml"
    done = await asyncio.to_thread(run_command, "run", str(files[0]), "--settings", str(files[1]))
    assert done.returncode == 2
    assert 'wsproxy.toml:3: admin.listen: found "0.0.0.0:0", which others reach' in done.stderr


async def test_token_can_be_replaced(tmp_path: Path) -> None:
    async with running(tmp_path, lane("farm"), workers=1) as bed:
        assert (await bed.asked("/metrics")).status == 200
        new = write(tmp_path / "new", "another-token-of-this-test")
        new.chmod(0o600)
        new.rename(tmp_path / "token")
        assert (await bed.asked("/metrics")).status == 401
        assert (await bed.asked("/metrics", token="another-token-of-this-test")).status == 200


async def test_whole_proxy_is_drained_and_resumed(tmp_path: Path) -> None:
    """Balancers hear it in both ways; who comes all the same is served, and his connection ends with the answer."""
    settings = '[health]\nready_path = "/ready"\nlive_path = "/live"\n'
    async with running(tmp_path, lane("farm"), settings=settings) as bed:
        port = bed.proxy.port

        async def until(status: int) -> None:
            """Each worker ends its answers with this at its next sweep, also one that none of our connections went to."""
            since = time.monotonic()
            while time.monotonic() - since < 4 * SWEEP_S:
                if (await ask(port, get("/ready"))).status != status:
                    since = time.monotonic()

        await until(200)
        async with await Client.connect(port) as client:
            assert not (await client.ask(get("/farm/x"))).closes
            said = await bed.run("drain", "--all", "--reason", "another kernel")
            assert said.startswith("the proxy is drained")
            assert await client.rest() == b""  # it waited for nothing: its connection ends
        await until(503)
        assert (await ask(port, get("/live"))).status == 200
        ready = await bed.asked("/ready", token="")
        assert (ready.status, json.loads(ready.body)["ready"]) == (503, False)
        answer = await ask(port, get("/farm/x"))
        assert (answer.status, answer.closes) == (200, True)
        assert await bed.total("wsproxy_ready") == 0
        assert await bed.total("wsproxy_drained") == 1
        assert "the whole proxy is drained" in await bed.run("status")
        bed.proxy.expected.append("was killed by")
        killed = bed.proxy.workers()[0]
        os.kill(killed, signal.SIGKILL)  # the next one knows, too
        await bed.proxy.line(rf"\(pid {killed}\) was killed by")
        while len(bed.proxy.workers()) < 2:  # noqa: ASYNC110  # the same
            await asyncio.sleep(0.02)
        await until(503)
        assert "(as before)" in await bed.run("drain", "--all")
        assert (await bed.run("resume", "--all")).startswith("the proxy is ready")
        await until(200)
        answer = await ask(port, get("/farm/x"))
        assert (answer.status, answer.closes) == (200, False)
        kinds = [
            each["kind"] for each in json.loads((await bed.asked("/v1/changes")).body)["changes"]
        ]
        assert [kind for kind in kinds if kind.startswith("proxy")] == ["proxy_drain_on", "proxy_drain_off"]  # fmt: skip
        # What balancers ask is no failure of ours.
        assert await bed.total("wsproxy_own_answers_total", code="503") == 0


async def test_who_asks_at_once_is_told_of_the_drain(tmp_path: Path) -> None:
    """Whichever worker is asked, and before its sweep: a script that drains and then asks the listener gets no "ok"."""
    async with running(tmp_path, lane("farm"), settings='[health]\nready_path = "/ready"\n') as bed:
        for _ in range(4):
            assert (await bed.asked("/v1/drain-all", method="POST", body="{}")).status == 200
            asked = [(await ask(bed.proxy.port, get("/ready"))).status for _ in range(8)]
            assert asked == [503] * 8
            assert (await bed.asked("/v1/resume-all", method="POST", body="{}")).status == 200
            while (await ask(bed.proxy.port, get("/ready"))).status != 200:
                pass


async def test_what_is_told_follows_a_reload(tmp_path: Path) -> None:
    """[metrics] and [health] need no new start."""
    async with running(tmp_path, lane("farm"), lane("shop"), workers=1) as bed:
        assert await bed.total("wsproxy_server_state", server="s0", state="up") == 2
        assert (await ask(bed.proxy.port, get("/ready"))).status == 404
        settings = (tmp_path / "wsproxy.toml").read_text()
        settings += '[metrics]\nclusters = ["sh*"]\nservers = false\nhistograms = false\n[health]\nready_path = "/ready"\n'
        write(tmp_path / "new", settings).rename(tmp_path / "wsproxy.toml")
        await bed.run("reload")
        await bed.until(2, "wsproxy_config_generation")
        assert (await ask(bed.proxy.port, get("/ready"))).status == 200
        found = await bed.samples()
        assert "wsproxy_request_duration_seconds_count" not in found
        assert found["wsproxy_server_weight"].keys() == {frozenset({("cluster", "shop")})}


async def test_health_is_asked_where_it_is_configured(tmp_path: Path) -> None:
    """On other ports, and for other methods, its path is one like any other."""
    settings = '[health]\nready_path = "/farm/ready"\nports = [1]\n'
    async with running(tmp_path, lane("farm"), workers=1, settings=settings) as bed:
        assert (await ask(bed.proxy.port, get("/farm/ready"))).body == b"ok"
        assert await bed.total("wsproxy_server_answers_total") == 1
    other = tmp_path / "other"
    other.mkdir()
    settings = '[health]\nready_path = "/farm/ready"\n'
    async with running(other, lane("farm"), workers=1, settings=settings) as bed:
        async with await Client.connect(bed.proxy.port) as client:
            assert (await client.ask(get("/farm/ready"))).body == b"ok\n"
            head = b"HEAD /farm/ready HTTP/1.1\r\nHost: h\r\n\r\n"
            assert (await client.ask(head, head_only=True)).status == 200
            post = b"POST /farm/ready HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
            assert (await client.ask(post)).body == b"ok"  # of the server
        assert await bed.total("wsproxy_server_answers_total") == 1


async def test_answers_of_the_edge_are_told_by_kind(tmp_path: Path) -> None:
    """Denied, redirected, in maintenance, from a folder: each once, whatever its status; who is served is in none."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_text("a")
    settings = (
        '[[edge]]\nhosts = ["old"]\nredirect = { host = "new" }\n'
        '[[edge]]\npaths = ["/farm/secret"]\ndeny = ["all"]\n'
        '[[edge]]\npaths = ["/static/*"]\nfiles = { root = "www", strip = "/static" }\n'
        '[[edge]]\npaths = ["/farm/later"]\nmaintenance_on = true\n'
    )
    async with running(tmp_path, lane("farm"), settings=settings) as bed:

        async def asked(path: str, host: str = "h") -> int:
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            return (await ask(bed.proxy.port, head.encode())).status

        found = [
            await asked("/farm/x"), await asked("/farm/secret"), await asked("/farm/x", "old"), await asked("/farm/later"),
            await asked("/static/a.txt"), await asked("/static/b.txt"), await asked("/static//a.txt"),
        ]  # fmt: skip
        assert found == [200, 403, 308, 503, 200, 404, 301]
        for kind, count in {
            "denied": 1, "redirected": 1, "maintenance": 1, "file": 3, "no_host": 0, "error_page": 0,
        }.items():  # fmt: skip
            assert await bed.total("wsproxy_edge_answers_total", kind=kind) == count
        farm = await bed.total("wsproxy_edge_answers_total", kind="maintenance", cluster="farm")
        assert farm == 1
        for code in (200, 301, 308, 403, 404, 503):
            assert await bed.total("wsproxy_own_answers_total", code=str(code)) == 1
        times = {
            code: await bed.total("wsproxy_own_answer_duration_seconds_count", code=code)
            for code in ("2xx", "3xx", "4xx", "5xx")
        }
        assert times == {"2xx": 1, "3xx": 2, "4xx": 2, "5xx": 1}
        assert await bed.total("wsproxy_request_receive_seconds_count") == 7
        assert await bed.total("wsproxy_server_answers_total") == 1
        page = await bed.page()
    assert promtool("check", "metrics", data=page) == ""


async def test_times_are_told_by_class_of_status(tmp_path: Path) -> None:
    """Whoever served it: a redirect's time is none of a page's."""

    async def by_path(served: OriginConnection) -> None:
        """`/farm/404` is answered with 404."""
        status = (await served.request()).split()[1].rpartition(b"/")[2]
        await served.send(b"HTTP/1.1 %b X\r\nContent-Length: 0\r\n\r\n" % status)

    async with running(tmp_path, lane("farm"), script=by_path) as bed:
        for status in (200, 302, 302, 404, 500):
            assert (await ask(bed.proxy.port, get(f"/farm/{status}"))).status == status
        name = "wsproxy_request_duration_seconds_count"
        counts = {code: await bed.total(name, code=code) for code in ("2xx", "3xx", "4xx", "5xx")}
        assert counts == {"2xx": 1, "3xx": 2, "4xx": 1, "5xx": 1}
        assert await bed.total(name) == 5
