"""
The admin process: answers questions on the Unix socket until SIGTERM.

Started by ``process.supervisor`` when somebody connects for the first time, and again should it die. Must not touch what
workers own: it reads their shared state (``admin.live``) and holds no lock of theirs, so whatever becomes of it they go on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from wsproxy.admin.live import LiveProxy, ProxyFacts
from wsproxy.admin.messages import (
    CHANGES_PATH,
    EXPLAIN_PATH,
    MOST_BODY_BYTES,
    STATUS_PATH,
    ErrorAnswer,
    ExplainQuestion,
)
from wsproxy.errors import RequestRefusedError

log = logging.getLogger("wsproxy.admin")

# A question takes milliseconds. A connection that is older is cut, whether it drips its head, its body or its reading.
CONNECTION_S = 20.0
# At the end, for what a cut connection leaves running: nothing that takes longer. Not 0, which aiohttp takes for "no limit".
SHUTDOWN_S = 0.1
# More come from no person and no monitoring; each costs a descriptor and some KiB.
MOST_CONNECTIONS = 64

# Of a change's number: what 64 bits hold.
MOST_DIGITS = 18

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Refusal(asyncio.Protocol):
    """For one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ends it."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def run_admin(facts: ProxyFacts, sock: socket.socket) -> int:
    """Answers on ``sock``, which listens, until SIGTERM; the exit code."""
    asyncio.run(serve(LiveProxy(facts), sock))
    return 0


async def serve(proxy: LiveProxy, sock: socket.socket, connection_s: float = CONNECTION_S) -> None:
    """Answers until SIGTERM, which ends it at once: nothing here is worth waiting for."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # A compressed question is none that can be read: what unpacks it would log whatever a client sends.
    runner = web.AppRunner(
        _make_app(proxy), access_log=None, shutdown_timeout=SHUTDOWN_S, auto_decompress=False
    )
    await runner.setup()
    server = runner.server
    assert server is not None

    def accept() -> asyncio.Protocol:
        if len(server.connections) >= MOST_CONNECTIONS:
            return _Refusal()
        handler = server()
        loop.call_later(connection_s, _cut, handler)
        return handler

    listener = await loop.create_server(accept, sock=sock)
    try:
        await stop.wait()
    finally:
        listener.close()
        for handler in server.connections:
            _cut(handler)
        await runner.cleanup()


def _cut(handler: web.RequestHandler) -> None:
    transport = handler.transport
    if isinstance(transport, asyncio.Transport):
        transport.abort()


def _make_app(proxy: LiveProxy) -> web.Application:
    async def explain(request: web.Request) -> web.Response:
        try:
            question = msgspec.json.decode(await request.read(), type=ExplainQuestion)
            return _json(proxy.explain(question))
        except msgspec.DecodeError as error:
            allowed = '{"method": "GET", "url": "http://HOST/PATH", "headers": ["NAME: VALUE"]}'
            return _json(ErrorAnswer(f"question: {error}; allowed is {allowed}"), 400)
        except RequestRefusedError as error:
            return _json(ErrorAnswer(str(error)), 400)

    async def status(_request: web.Request) -> web.Response:
        return _json(proxy.status())

    async def changes(request: web.Request) -> web.Response:
        since = request.query.get("since", "0")
        if not (since.isascii() and since.isdecimal() and len(since) <= MOST_DIGITS):
            text = f"since: found {since[:80]!r}; allowed is the number of a change, 0 for all that are kept"
            return _json(ErrorAnswer(text), 400)
        return _json(proxy.changes(int(since)))

    app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[_errors_as_json])
    app.router.add_post(EXPLAIN_PATH, explain)
    app.router.add_get(STATUS_PATH, status)
    app.router.add_get(CHANGES_PATH, changes)
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer is JSON, and an error says what would be right."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = ErrorAnswer(
            f"method: found {request.method}; allowed for {request.path} is {allowed}"
        )
        return _json(answer, error.status, {"Allow": allowed})
    except web.HTTPNotFound:
        allowed = f"POST {EXPLAIN_PATH}, GET {STATUS_PATH}, GET {CHANGES_PATH}"
        return _json(ErrorAnswer(f"path: found {request.path}; allowed is {allowed}"), 404)
    except web.HTTPRequestEntityTooLarge:
        text = f"body: found more than {MOST_BODY_BYTES} bytes; allowed is that many"
        return _json(ErrorAnswer(text), 413, {"Connection": "close"})
    except web.RequestPayloadError as error:
        return _json(
            ErrorAnswer(f"body: {error}; allowed is one of the length that is announced"), 400
        )
    except ConnectionError:
        return web.Response()  # to nobody: whoever asked has left
    except web.HTTPException as error:
        return _json(ErrorAnswer(error.reason), error.status)
    except Exception:
        log.exception("internal error in %s %s", request.method, request.path)
        return _json(ErrorAnswer("internal error; the log of the proxy says more"), 500)


def _json(
    answer: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer),
        status=status,
        content_type="application/json",
        headers=headers,
    )
