"""
One small app server: a session counter, and a few pages that show what a proxy did to a request.

``python -m wsproxy.demo.app --name s1 --clone clone1 --store sessions.db``; started by ``demo.cluster``, or by hand. Must
not listen beyond 127.0.0.1. It stops nobody: the page's buttons are orders to ``demo.show``, which kills by pid, as a crash would.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import html
import importlib.resources
import ipaddress
import json
import os
import signal
import string
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop
from aiohttp import web
from aiohttp.typedefs import Handler

from wsproxy.admin.client import AskError, ask_explanation
from wsproxy.admin.messages import ExplainQuestion
from wsproxy.config.problems import printable
from wsproxy.demo.control import VERBS, give_order, read_state
from wsproxy.demo.sessions import (
    COOKIE_NAME,
    SessionStore,
    Visit,
    find_session_cookie,
    parse_jsessionid,
)

HOST = "127.0.0.1"  # a demo is nobody else's business
READY = "listening"  # first word of the one line on standard output; the port is the second

KEEP_ALIVE_S = (
    30.0  # Liberty closes an idle connection after 30 s: pools in front of it must let go earlier
)
SHUTDOWN_S = 5.0  # running requests after SIGTERM; longer than any page but /app/slow needs
LAST_S = 1.0  # for the rest of answers that are there

MAX_SLOW_MS = 60_000  # twice KEEP_ALIVE_S: enough to run into any time-out that a demo sets
MAX_BYTES = 64 * 1024 * 1024  # streamed, so it costs no memory; enough to measure throughput with
CHUNK_BYTES = 64 * 1024  # a few socket buffers' worth: memory of one running /app/bytes

ORDER_S = 0.05  # for the answer to be sent
HEADER = "X-Demo"  # a page of another site cannot send it without being asked first (CORS)
STRANGER = "nobody"  # a clone id of no server

_SHOWN_CHARACTERS = 4  # of a session id; who knows all of it is logged in
_PRIVATE_PREFIX = "$WS"


class AppServer:
    """The pages of one server."""

    def __init__(self, name: str, clone_id: str, store: SessionStore, directory: Path) -> None:
        """Closes ``store``, its own handle of what the cluster shares, when it is closed; ``directory`` has the demo's files."""
        self._name = name
        self._directory = directory
        self._clone_id = clone_id
        self._store = store
        # A write may have to wait for another server's, which would stop every connection of this one: so not on the event
        # loop. One thread, because SQLite has one writer anyhow.
        self._running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._store_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        page = importlib.resources.files("wsproxy.demo").joinpath("page.html")
        self._page = string.Template(page.read_text("utf-8"))

    def make_application(self) -> web.Application:
        """The routes; everything stands under the context root ``/app``, and ``/`` leads there."""
        application = web.Application(middlewares=[self._count])
        application.add_routes(
            [
                web.get("/", self._on_context_root),
                web.get("/app", self._on_context_root),
                web.get("/app/", self._on_page),
                web.get("/app/json", self._on_json),
                web.route("*", "/app/headers", self._on_headers),
                web.get("/app/slow", self._on_slow),
                web.route("*", "/app/echo", self._on_echo),
                web.get("/app/bytes", self._on_bytes),
                web.post("/app/order", self._on_order),
                web.post("/app/cookie", self._on_cookie),
            ]
        )
        return application

    async def finish(self, patience_s: float) -> None:
        """Returns when no request runs, or after that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._is_idle.wait()

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._running += 1
        self._is_idle.clear()
        try:
            return await handler(request)
        finally:
            self._running -= 1
            if not self._running:
                self._is_idle.set()

    def close(self) -> None:
        """Ends the store's thread and closes the store."""
        self._store_thread.shutdown()
        self._store.close()

    async def _on_context_root(self, _request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/app/"})

    async def _on_page(self, request: web.Request) -> web.Response:
        visit = await self._visit(request)
        shown = self._describe(request, visit)
        private = shown["privateHeaders"].items()
        rows = [_table_row(name, value) for name, value in private]
        text = self._page.substitute(
            server=html.escape(shown["server"]),
            clone=html.escape(shown["cloneId"]),
            pid=shown["pid"],
            session=html.escape(shown["session"]),
            new=" (new)" if visit.is_new else "",
            cache_id=html.escape(shown["cacheId"]),
            clone_ids=html.escape(" ".join(shown["cloneIds"])),
            count=visit.count,
            private_headers="\n".join(rows)
            or _table_row("nothing", "no private header came with this request"),
        )
        answer = self._answer(visit, text, "text/html")
        # another site's page must not lay its own buttons under a click on these
        answer.headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        return answer

    async def _on_json(self, request: web.Request) -> web.Response:
        """With ``?demo``, on this machine: also the demo's servers, and how the proxy would decide this request now."""
        visit = await self._visit(request)
        shown = self._describe(request, visit)
        shows = "demo" in request.query and _is_from_here(request)
        state = read_state(self._directory) if shows else None
        if state is not None:
            shown["demo"] = {
                "now": time.monotonic(),
                "servers": msgspec.to_builtins(state.servers),
                "commands": state.commands,
                "dashboard": state.dashboard,
                "explanation": await self._explain(request, state.admin),
            }
        return self._answer(visit, _to_json(shown), "application/json")

    async def _explain(self, request: web.Request, admin: str) -> dict[str, Any] | None:
        """Asks the proxy; None: it has no admin socket, or does not answer there."""
        if not admin:
            return None
        lines = [f"Cookie: {value}" for value in request.headers.getall("Cookie", [])]
        question = ExplainQuestion("GET", f"http://{request.host}{request.path}", lines)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(None, ask_explanation, Path(admin), question)
        except AskError:
            return None
        explained: dict[str, Any] = msgspec.to_builtins(answer.explanation)
        return explained

    async def _on_order(self, request: web.Request) -> web.Response:
        """``?kill=s1`` or ``?return=s1``: a moment after the answer, so that it is sent even by the server that dies."""
        _refuse_strangers(request)
        state = read_state(self._directory)
        known = [] if state is None else [server.name for server in state.servers]
        for verb in VERBS:
            name = request.query.get(verb, "")
            if name in known:
                assert state is not None
                order = (self._directory, state, verb, name)
                asyncio.get_running_loop().call_later(ORDER_S, give_order, *order)
                return web.Response(text=f"{verb} {name}\n")
        raise web.HTTPBadRequest(
            text=f"found {request.query_string!r}; allowed is kill= or return= and one of {', '.join(known)}\n"
        )

    async def _on_cookie(self, request: web.Request) -> web.Response:
        """``?spoil``: the session with the clone id of no server; ``?drop``: none."""
        _refuse_strangers(request)
        value = find_session_cookie(request.headers.getall("Cookie", []))
        asked = parse_jsessionid(value) if value is not None else None
        cookie, age = "", "; Max-Age=0"
        if asked is not None and "spoil" in request.query:
            cookie, age = str(dataclasses.replace(asked, clone_ids=(STRANGER,))), ""
        return web.Response(
            text="done\n",
            headers={"Set-Cookie": f"{COOKIE_NAME}={cookie}; Path=/; HttpOnly{age}"},
        )

    async def _on_headers(self, request: web.Request) -> web.Response:
        """The request line and the header fields in the order and letters in which they arrived."""
        fields = [[_to_text(name), _to_text(value)] for name, value in request.raw_headers]
        version = f"HTTP/{request.version.major}.{request.version.minor}"
        arrived = {
            "server": self._name,
            "method": request.method,
            "target": request.raw_path,
            "version": version,
            "headers": fields,
        }
        return web.Response(text=_to_json(arrived), content_type="application/json")

    async def _on_slow(self, request: web.Request) -> web.Response:
        """Says nothing for ``ms`` milliseconds."""
        wait_ms = _read_number(request, "ms", MAX_SLOW_MS)
        await asyncio.sleep(wait_ms / 1000)
        return web.Response(text=f"{self._name} waited {wait_ms} ms\n")

    async def _on_echo(self, request: web.Request) -> web.StreamResponse:
        """The body, sent back while it still arrives; with the length that the request announced, else chunked."""
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        if request.content_length is not None:
            response.content_length = request.content_length
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _on_bytes(self, request: web.Request) -> web.StreamResponse:
        """``n`` bytes of the alphabet over and over."""
        left = _read_number(request, "n", MAX_BYTES)
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = left
        await response.prepare(request)
        letters = string.ascii_lowercase.encode()
        block = letters * (CHUNK_BYTES // len(letters))
        while left > 0:
            await response.write(block[:left])
            left -= len(block)
        await response.write_eof()
        return response

    async def _visit(self, request: web.Request) -> Visit:
        value = find_session_cookie(request.headers.getall("Cookie", []))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._store_thread, self._store.visit, value, self._clone_id
        )

    def _describe(self, request: web.Request, visit: Visit) -> dict[str, Any]:
        session = visit.jsessionid.session
        masked = "*" * (len(session) - _SHOWN_CHARACTERS) + session[-_SHOWN_CHARACTERS:]
        private = {
            _to_text(name): _to_text(value)
            for name, value in request.raw_headers
            if _to_text(name).upper().startswith(_PRIVATE_PREFIX)
        }
        return {
            "server": self._name,
            "cloneId": self._clone_id,
            "pid": os.getpid(),
            "session": masked,
            "isNew": visit.is_new,
            "cacheId": f"{visit.jsessionid.cache_id:04}",
            "cloneIds": list(visit.jsessionid.clone_ids),
            "count": visit.count,
            "privateHeaders": private,
        }

    def _answer(self, visit: Visit, text: str, content_type: str) -> web.Response:
        response = web.Response(
            text=text, content_type=content_type, headers={"Cache-Control": "no-store"}
        )
        if visit.sets_cookie:
            # Letter for letter what Liberty writes; set_cookie would quote the value and order the rest its own way.
            response.headers["Set-Cookie"] = f"{COOKIE_NAME}={visit.jsessionid}; Path=/; HttpOnly"
        return response


def _refuse_strangers(request: web.Request) -> None:
    """Only this machine's own pages may press buttons: another site's have no field of their own."""
    if HEADER not in request.headers or not _is_from_here(request):
        raise web.HTTPForbidden(
            text=f"allowed from this machine only, under its address or localhost, with the field {HEADER}\n"
        )


def _is_from_here(request: web.Request) -> bool:
    """Others' machines have an address; a site whose name leads here (DNS rebinding) has that name in Host."""
    client = request.headers.get("$WSRA", HOST)
    try:
        name = urlsplit(f"//{request.host}").hostname or ""
        if name != "localhost":
            ipaddress.ip_address(name)
        return ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False


def _table_row(name: str, value: str) -> str:
    return (
        f"<tr><th>{html.escape(printable(name))}</th><td>{html.escape(printable(value))}</td></tr>"
    )


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True) + "\n"


def _to_text(raw: bytes) -> str:
    """Bytes of a header as text; ISO-8859-1 loses none of them."""
    return raw.decode("latin-1")


def _read_number(request: web.Request, name: str, highest: int) -> int:
    """The number in the query string; anything but 0 to ``highest`` is answered with 400 and what is allowed."""
    text = request.query.get(name, "")
    # A text longer than the limit is no number to convert: int() takes quadratic time for it.
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(highest))
    if not is_number or int(text) > highest:
        raise web.HTTPBadRequest(
            text=f"found {name}={text!r}; allowed is a number from 0 to {highest}\n"
        )
    return int(text)


async def serve(name: str, clone_id: str, port: int, store: Path, keep_alive_s: float) -> None:
    """Serves until SIGTERM or SIGINT; says on standard output which port it listens on, and nothing else."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = AppServer(name, clone_id, SessionStore(store), store.parent)
    runner = web.AppRunner(
        server.make_application(),
        access_log=None,
        keepalive_timeout=keep_alive_s,
        shutdown_timeout=LAST_S,
    )
    try:
        await runner.setup()
        # reuse_port: demo.cluster keeps the port with a socket that does not listen, also while this server is dead.
        await web.TCPSite(runner, HOST, port, reuse_port=True).start()
        _, bound_port = runner.addresses[0]
        os.write(1, f"{READY} {bound_port}\n".encode())
        await stop.wait()
    finally:
        # Nobody new, then those who are there: ``cleanup`` would throw away what still comes of their bodies.
        for site in list(runner.sites):
            await site.stop()
        await server.finish(SHUTDOWN_S)
        await runner.cleanup()
        server.close()


def main() -> None:
    """Reads the arguments and serves."""
    parser = argparse.ArgumentParser(
        prog="python -m wsproxy.demo.app", description="One app server of the demo."
    )
    parser.add_argument("--name", required=True, help="name that its pages show")
    parser.add_argument(
        "--clone", required=True, help="CloneID: the end of the session cookies that it gives out"
    )
    parser.add_argument(
        "--store", required=True, type=Path, help="SQLite file that all servers of a cluster share"
    )
    parser.add_argument(
        "--port", type=int, default=0, help=f"port on {HOST}; 0, the default: any free one"
    )
    parser.add_argument(
        "--keep-alive",
        type=float,
        default=KEEP_ALIVE_S,
        metavar="SECONDS",
        help=f"an idle connection is closed after this long; {KEEP_ALIVE_S:g}, the default, is Liberty's",
    )
    arguments = parser.parse_args()
    uvloop.run(
        serve(
            arguments.name, arguments.clone, arguments.port, arguments.store, arguments.keep_alive
        )
    )


if __name__ == "__main__":
    main()
