"""
A page in a real Chromium without a window, driven over its DevTools protocol.

``async with open_page(url) as page``: ``await page.run("document.title")``. Only for URLs of this machine: the browser gets no other
name resolved.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.process import WAIT_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-default-browser-check", "--remote-debugging-port=0", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)  # fmt: skip


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A DevTools command and its result."""
        number = next(self._numbers)
        await self._connection.send(
            json.dumps({"id": number, "method": method, "params": parameters})
        )
        while True:
            found = json.loads(await asyncio.wait_for(self._connection.recv(), WAIT_S))
            if found.get("id") == number:
                assert "error" not in found, found
                result: dict[str, Any] = found["result"]
                return result

    async def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait_for(self, expression: str) -> None:
        """Until it is true, looked at after each frame."""
        await self.run(
            f"new Promise((done, fail) => {{ const end = performance.now() + {WAIT_S * 1000}; const look = () => ({expression})"
            " ? done(true) : performance.now() > end ? fail('it did not come: ' + document.body.innerText) : setTimeout(look, 20);"
            " look(); })"
        )


@asynccontextmanager
async def open_page(url_of_page: str, *, scheme: str = "light") -> AsyncIterator[Page]:
    """A fresh browser with this page in it; ``scheme``: what it prefers, light or dark."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        browser = await asyncio.create_subprocess_exec(
            *command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port_of(Path(profile), browser)
            url = await asyncio.to_thread(_page_url, port)
            async with connect(url, max_size=None) as connection:
                page = Page(connection)
                preferred = [{"name": "prefers-color-scheme", "value": scheme}]
                await page.call("Emulation.setEmulatedMedia", features=preferred)
                await page.call("Page.navigate", url=url_of_page)
                await page.wait_for(
                    "document.readyState === 'complete' && location.href !== 'about:blank'"
                )
                yield page
                await page.call("Browser.close")
            await asyncio.wait_for(browser.wait(), WAIT_S)
        finally:
            with suppress(ProcessLookupError):  # its helpers too, which write into the profile
                os.killpg(browser.pid, signal.SIGKILL)
            await browser.wait()


async def _port_of(profile: Path, browser: asyncio.subprocess.Process) -> int:
    """Of DevTools, which the browser writes into its profile once it listens."""
    async with asyncio.timeout(WAIT_S):
        while browser.returncode is None:
            try:
                return int((profile / "DevToolsActivePort").read_text().splitlines()[0])
            except (FileNotFoundError, IndexError):
                await asyncio.sleep(0.02)
    raise AssertionError(f"the browser ended with {browser.returncode}")


def _page_url(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=WAIT_S) as answer:
        targets = json.load(answer)
    url: str = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
    return url
