"""The demo's page and its buttons, through the proxy; and what it tells people to try in a terminal."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.chromium import CHROMIUM, open_page
from tests.support.demo_cluster import Client, ask
from tests.support.demo_command import guided_demo, read_line
from tests.support.process import COMMAND_S

OWN = {"X-Demo": "1"}
EXPLAIN = {"X-Wsproxy-Explain": "1"}


@dataclass
class Demo:
    process: subprocess.Popen[str]
    url: str
    said: list[str] = field(default_factory=list)

    def wait_for(self, pattern: str) -> re.Match[str]:
        return read_line(self.process, pattern, self.said)

    def command(self, name: str) -> str:
        """One that the guide tells."""
        return next(line.strip() for line in self.said if f" {name} " in line and "/" in line)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with guided_demo(tmp_path_factory.mktemp("demo")) as (process, url, said):
        yield Demo(process, url, said)


def press(demo: Demo, target: str, cookie: str | None = None, **headers: str) -> int:
    return ask(
        demo.url, f"/app/{target}", cookie=cookie, headers=headers or OWN, method="POST"
    ).status


def test_the_root_leads_to_the_page(demo: Demo) -> None:
    answer = ask(demo.url, "/")
    assert (answer.status, answer.headers["Location"]) == (302, "/app/")
    page = ask(demo.url, "/app/").body.decode()
    assert "where your session lives" in page
    assert "What the proxy decided for this request" in page


def test_buttons_kill_a_server_and_return_it(demo: Demo) -> None:
    """The order is a moment behind its answer: also the server that dies has sent it."""
    client = Client()
    name = client.ask(demo.url, "/app/json?demo")["server"]
    assert press(demo, f"order?kill={name}", client.cookie) == 200
    demo.wait_for(rf"^{name} \(pid \d+\) is dead; it comes back in 600 s")
    found = client.ask(demo.url, "/app/json?demo")
    assert found["server"] != name
    servers = {each["name"]: each for each in found["demo"]["servers"]}
    assert [each["isRunning"] for each in servers.values()].count(False) == 1
    assert servers[name]["returnsAt"] - found["demo"]["now"] > 500
    seen = {each["name"]: each["verdict"] for each in found["demo"]["explanation"]["servers"]}
    assert seen[name].startswith("marked down, for ")
    assert press(demo, f"order?return={name}") == 200
    demo.wait_for(rf"^{name} is back, pid \d+")


def test_only_the_demos_own_page_may_press_buttons(demo: Demo) -> None:
    """A page of another site cannot send a field of its own; another machine has another address."""
    assert press(demo, "order?kill=s1", Accept="*/*") == 403
    assert press(demo, "cookie?drop", Accept="*/*") == 403
    direct = re.search(r"s1  CloneID clone1  (http://\S+)", "".join(demo.said))
    assert direct
    strange = {**OWN, "$WSRA": "192.0.2.7"}
    assert ask(direct[1], "/app/order?kill=s1", headers=strange, method="POST").status == 403
    port = demo.url.rpartition(":")[2]
    for host in (f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):  # DNS rebinding
        assert press(demo, "order?kill=s1", Host=host, **OWN) == 403
        assert press(demo, "cookie?drop", Host=host, **OWN) == 403
    for host in (f"localhost:{port}", f"[::1]:{port}"):
        assert press(demo, "cookie?drop", Host=host, **OWN) == 200
    assert press(demo, "order?kill=s9") == 400
    assert press(demo, "order?stop=s1") == 400


def test_only_this_machine_is_told_of_the_demo(demo: Demo) -> None:
    """Decisions, processes and paths are nobody else's business; nor may another site show the page under a click of its own."""
    assert "demo" in ask(demo.url, "/app/json?demo").json
    elsewhere = {"Host": "evil.example:" + demo.url.rpartition(":")[2]}
    assert "demo" not in ask(demo.url, "/app/json?demo", headers=elsewhere).json
    page = ask(demo.url, "/app/")
    assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_a_spoilt_cookie_breaks_affinity_once(demo: Demo) -> None:
    client = Client()
    client.ask(demo.url)
    spoilt = ask(
        demo.url, "/app/cookie?spoil", cookie=client.cookie, headers=OWN, method="POST"
    ).cookie
    assert spoilt is not None
    assert spoilt.endswith(":nobody")
    answer = ask(demo.url, cookie=spoilt, headers=EXPLAIN)
    assert answer.headers["X-Wsproxy-Affinity"] == "broken: clone id nobody"
    assert answer.json["count"] == 2  # the session goes on
    assert answer.cookie is not None
    again = ask(demo.url, cookie=answer.cookie, headers=EXPLAIN)
    assert again.headers["X-Wsproxy-Affinity"].startswith("by clone id clone")
    dropped = ask(demo.url, "/app/cookie?drop", cookie=again.cookie, headers=OWN, method="POST")
    assert "Max-Age=0" in dropped.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("explain", r"-> s\d at 127.0.0.1:\d+: "),
        ("replay", r"requests: [1-9]\d* same, 0 differ, "),
        ("simulate", r"sessions? moves?.*\.$"),
    ],
)
def test_commands_of_the_guide_can_be_pasted(demo: Demo, name: str, says: str) -> None:
    """The first asks the running proxy; the others read the log of all that was asked so far."""
    assert ask(demo.url).status == 200
    done = subprocess.run(
        ["sh", "-c", demo.command(name)],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(says, done.stdout, re.MULTILINE), done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
async def test_a_person_sees_the_session_move_and_return(demo: Demo) -> None:
    """In a browser: kill the server of the session, see it live elsewhere, return it, break affinity."""
    mine = "document.querySelector('.badge').closest('section').querySelector('h2').firstChild.data"
    async with open_page(f"{demo.url}/") as page:
        await page.wait_for("!document.getElementById('servers').hidden")
        assert await page.run("location.pathname") == "/app/"
        assert await page.run("document.querySelectorAll('.server').length") == 3
        owner = await page.run(mine)
        await page.run(
            "document.querySelector('.badge').closest('section').querySelector('button').click()"
        )
        await page.wait_for("document.querySelector('.server.dead')")
        assert await page.run(mine) != owner
        assert await page.run("document.querySelector('.strip .moved') !== null")
        decided = await page.run("document.getElementById('fields').innerText")
        assert f"{owner} (" in decided  # among its tries
        await page.run("document.querySelector('.server.dead button').click()")
        await page.wait_for("!document.querySelector('.server.dead')")
        await page.run("document.getElementById('spoil').click()")
        await page.wait_for(
            "document.getElementById('fields').innerText.includes('broken: clone id nobody')"
        )
        commands = await page.run("document.getElementById('commands').innerText")
        assert [
            word for word in ("explain", "replay", "simulate") if f" {word} " not in commands
        ] == []
