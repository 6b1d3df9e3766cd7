"""The dashboard in a real browser, before the demo's proxy: what a person with a keyboard does and sees."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support.axe import findings
from tests.support.chromium import CHROMIUM, Page, open_page
from tests.support.demo_cluster import ask
from tests.support.demo_command import guided_demo

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"
)

SESSION = "abcdefghijklmnopqrstuvw"
# Before any script of the page: what its policy blocks, and what fails in it.
WITNESS = (
    "window.wrong = []; addEventListener('securitypolicyviolation', event => window.wrong.push(event.violatedDirective + ' ' + event.blockedURI));"
    " addEventListener('error', event => window.wrong.push(String(event.message)));"
    " addEventListener('unhandledrejection', event => window.wrong.push(String(event.reason)));"
)


def pill(server: str) -> str:
    """An expression for the state of this server as the page shows it."""
    row = f"[...document.querySelectorAll('.cluster tbody tr')].find(row => row.querySelector('.name').textContent === '{server}')"
    return f"{row}.querySelector('.pill').textContent"


@dataclass
class Demo:
    url: str
    dashboard: str
    pids: dict[str, int]

    @asynccontextmanager
    async def page(self, url: str = "", *, scheme: str = "light") -> AsyncIterator[Page]:
        """The dashboard with servers in it, unless another ``url`` is given; nothing was blocked in it, and nothing failed."""
        async with open_page("about:blank?", scheme=scheme) as page:
            await page.call("Page.enable")
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)
            await page.call("Page.navigate", url=url or self.dashboard)
            if not url:
                await page.wait_for("document.querySelectorAll('.cluster tbody tr').length === 3")
            yield page
            assert await page.run("window.wrong") == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with guided_demo(tmp_path_factory.mktemp("demo")) as (_, url, said):
        dashboard = next(line.split()[1] for line in said if line.startswith("Dashboard: "))
        pids = re.findall(r"(s\d)  CloneID clone\d  \S+  pid (\d+)", "".join(said))
        yield Demo(url, dashboard, {name: int(pid) for name, pid in pids})


async def press(page: Page, key: str) -> None:
    code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}[key]
    text = {"Enter": "\r", " ": " "}.get(key, "")
    for kind in ("keyDown", "keyUp"):
        more = {"text": text} if text and kind == "keyDown" else {}
        await page.call(
            "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
        )


async def tab_to(page: Page, expression: str) -> None:
    """Tab after Tab, until the place of the keyboard is one of which this holds (``here``)."""
    for _ in range(80):
        await press(page, "Tab")
        if await page.run(f"(here => Boolean({expression}))(document.activeElement)"):
            return
    raise AssertionError(f"no way by Tab to where {expression}")


async def type_text(page: Page, text: str) -> None:
    await page.call("Input.insertText", text=text)


async def open_word(page: Page, label: str) -> None:
    """By keyboard."""
    await tab_to(page, f"here.getAttribute('aria-label') === '{label}'")
    await press(page, "Enter")
    await page.wait_for("document.getElementById('word').open")


async def enter(page: Page, text: str) -> None:
    await type_text(page, text)
    await press(page, "Enter")


async def shows(page: Page, part: str, text: str) -> None:
    """Until this part of the page has the text."""
    await page.wait_for(f"document.getElementById('{part}').textContent.includes('{text}')")


async def test_server_is_drained_and_resumed_by_keyboard_with_a_reason(demo: Demo) -> None:
    async with demo.page() as page:
        await open_word(page, "Drain s2")
        assert await page.run("document.activeElement.id") == "reason"
        await press(page, "Enter")  # without a reason nothing is said
        assert await page.run("document.getElementById('word').open")
        await enter(page, "new kernel, ticket 4711")
        await page.wait_for(f"{pill('s2')} === 'drained'")
        await page.wait_for("!document.getElementById('word').open")
        await shows(page, "watch", "demo/s2: new kernel, ticket 4711")
        await shows(page, "timeline", "demo/s2 is drained")
        assert "demo/s2" in await page.run("document.getElementById('news').textContent")
        # The keyboard is where it was, at the button that takes it back.
        await page.wait_for("document.activeElement.getAttribute('aria-label') === 'Resume s2'")
        await press(page, " ")
        await page.wait_for("document.getElementById('word').open")
        await enter(page, "done")
        await page.wait_for(f"{pill('s2')} === 'up'")


async def test_weight_is_set_and_given_back(demo: Demo) -> None:
    shown = "[...document.querySelectorAll('.cluster tbody tr')].find(row => row.innerText.includes('s1')).querySelector('td[data-of=Weight]').innerText"
    async with demo.page() as page:
        await open_word(page, "Weight of s1")
        assert await page.run("document.activeElement.id") == "weight"
        await page.run("document.activeElement.select()")
        await type_text(page, "7")
        await tab_to(page, "here.id === 'reason'")
        await enter(page, "a larger machine")
        await page.wait_for(f"{shown}.startsWith('7')")
        await page.wait_for(f"{shown}.includes('a larger machine')")
        await page.run("document.querySelector('[aria-label=\"Weight of s1\"]').click()")
        await page.run("document.getElementById('as-file').click()")
        await page.run("document.getElementById('reason').focus()")
        await enter(page, "back")
        await page.wait_for(f"{shown}.trim() === '2'")


async def test_url_and_cookie_are_explained_while_they_are_typed(demo: Demo) -> None:
    verdict = "document.querySelector('#explained .verdict b')"
    async with demo.page() as page:
        await page.run("document.getElementById('url').focus()")
        await type_text(page, f"{demo.url}/app/cart")
        await page.wait_for(f"{verdict} && {verdict}.textContent.startsWith('demo/s')")
        await page.run("document.getElementById('cookie').focus()")
        await type_text(page, f"0000{SESSION}:clone3")
        await page.wait_for(f"{verdict}.textContent === 'demo/s3'")
        await shows(page, "explained", "session affinity")
        assert await page.run("document.getElementById('cookie').type") == "password"
        assert SESSION not in await page.run("document.body.innerText")
        await page.run("document.getElementById('url').value = 'http://elsewhere.example/x'")
        await page.run(
            "document.getElementById('url').dispatchEvent(new Event('input', {bubbles: true}))"
        )
        await page.wait_for(f"{verdict}.textContent === '404'")
        assert SESSION not in await page.run("document.documentElement.outerHTML")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
async def test_axe_finds_nothing(demo: Demo, scheme: str, width: int) -> None:
    """Nor is anything wider than a telephone."""
    async with demo.page(scheme=scheme) as page:
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        await page.run("document.getElementById('url').value = 'http://127.0.0.1/app/x'")
        slow = asyncio.ensure_future(asyncio.to_thread(ask, demo.url, "/app/slow?ms=5000"))
        await page.run("document.getElementById('keep-looking').click()")
        await page.wait_for("document.querySelector('#running td')")
        await page.run("document.getElementById('keep-looking').click()")
        await page.run(
            "document.getElementById('url').dispatchEvent(new Event('input', {bubbles: true}))"
        )
        await page.wait_for("document.querySelector('#explained .verdict')")
        assert await findings(page) == []  # a running request among it
        assert await page.run("document.querySelector('#running td') !== null")
        assert await page.run("document.documentElement.scrollWidth") <= width
        tall = "[...document.querySelectorAll('#explained .pill')].filter(each => each.textContent.length < 10 && each.getClientRects()[0].height > 28).map(each => each.textContent)"
        assert await page.run(tall) == []  # no short word is broken into lines
        await page.run("document.querySelector('.do button').click()")
        await page.wait_for("document.getElementById('word').open")
        assert await findings(page) == []
        await slow


async def test_token_is_asked_for_and_kept_in_the_tab(demo: Demo) -> None:
    plain, _, token = demo.dashboard.partition("#token=")
    async with demo.page(plain) as page:
        await page.wait_for("document.activeElement?.id === 'token'")
        await enter(page, "not this one, surely")
        await shows(page, "token-wrong", "no token that is right")
        assert await findings(page) == []
        await page.run("document.getElementById('token').value = ''")
        await page.run("document.getElementById('token').focus()")
        await enter(page, token)
        await page.wait_for("document.querySelectorAll('.cluster tbody tr').length === 3")
    async with demo.page() as page:
        assert await page.run("location.href") == plain  # the token is in no history


async def test_death_of_a_server_is_seen_at_once(demo: Demo) -> None:
    async with demo.page() as page:
        assert await page.run(pill("s3")) == "up"
        os.kill(demo.pids["s3"], signal.SIGKILL)
        asked = 0
        while asked < 40 and await page.run(pill("s3")) == "up":
            assert ask(demo.url).status == 200
            asked += 1
        await page.wait_for(f"{pill('s3')} === 'down'")
        await shows(page, "watch", "demo/s3")
        await shows(page, "timeline", "demo/s3 is marked down")
        await shows(page, "news", "demo/s3 is marked down")
        assert await findings(page) == []


def test_page_of_the_demo_leads_here(demo: Demo) -> None:
    assert ask(demo.url, "/app/json?demo").json["demo"]["dashboard"] == demo.dashboard
    elsewhere = {"Host": "evil.example:" + demo.url.rpartition(":")[2]}
    assert demo.dashboard not in ask(demo.url, "/app/json?demo", headers=elsewhere).body.decode()
