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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Middleware

from wsproxy.admin.control_desk import ControlDesk
from wsproxy.admin.control_messages import (
    DRAIN_ALL_PATH,
    HOLD_PATHS,
    KILL_PATH,
    LOG_LEVEL_PATH,
    MAINTENANCE_PATH,
    REQUESTS_PATH,
    RESUME_ALL_PATH,
    SERVERS_PATH,
    SET_PATH,
    WHY_PATH,
    AllWord,
    KillQuestion,
    LogLevelQuestion,
    MaintenanceWord,
    Numbers,
    Word,
)
from wsproxy.admin.dashboard import add_dashboard
from wsproxy.admin.door import Times, accept
from wsproxy.admin.events import EVENTS_PATH, HEAT_PATH, LISTENING_S, MOST_LISTENERS, Events
from wsproxy.admin.live import LiveProxy, ProxyFacts
from wsproxy.admin.loader_desk import LoaderDesk, LoaderEndedError, comes_by_tcp, who_asks
from wsproxy.admin.messages import (
    CHANGES_PATH,
    EXPLAIN_PATH,
    MOST_BODY_BYTES,
    STATUS_PATH,
    ErrorAnswer,
    ExplainQuestion,
)
from wsproxy.admin.reloads import HISTORY_PATH, RELOAD_PATH, ROLLBACK_PATH
from wsproxy.admin.standing import add_standing
from wsproxy.admin.tcp import Token, comes_from_elsewhere, is_open, may_ask
from wsproxy.admin.tls import AdminTls
from wsproxy.admin.upgrade_desk import ANSWER_S, UpgradeDesk
from wsproxy.admin.upgrades import UPGRADE_PATH
from wsproxy.dataplane.inbox import Inbox
from wsproxy.dataplane.parcel import unpack
from wsproxy.dataplane.steps import at_once
from wsproxy.dataplane.tasks import keep_turning, log_loop_error, run, spawn
from wsproxy.errors import RequestRefusedError, StartError

log = logging.getLogger("wsproxy.admin")

# A question takes milliseconds. A connection that is older is cut, whether it drips its head, its body or its reading.
CONNECTION_S = 20.0
# At the end, for what a cut connection leaves running: nothing that takes longer. Not 0, which aiohttp takes for "no limit".
SHUTDOWN_S = 0.1
# How often a process that is replaced looks whether its last answer has been taken.
LEAVE_STEP_S = 0.05

# Of a change's number: what 64 bits hold.
MOST_DIGITS = 18

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _is_fault_of_ours(record: logging.LogRecord) -> bool:
    """Of aiohttp: what is no HTTP is whoever sent it to blame for, and what he sent, a token perhaps, is in no log."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError):
        return True
    log.info(
        "%s: found what is no HTTP question (%s)", *(record.args or ("?",)), type(error).__name__
    )
    return False


http_log = logging.getLogger("wsproxy.admin.http")
http_log.addFilter(_is_fault_of_ours)


def run_admin(
    facts: ProxyFacts,
    sock: socket.socket | None,
    on_turn: Callable[[], None],
    box: socket.socket,
    loader: socket.socket,
    parcel: int,
    tcp: socket.socket | None = None,
    token: Token | None = None,
    supervisor: socket.socket | None = None,
    tls: AdminTls | None = None,
) -> int:
    """
    Answers on ``sock`` and ``tcp``, which listen, until SIGTERM; the exit code. Who asks by ``tcp`` must show ``token``, and speak ``tls``.

    ``on_turn`` is called once a second. Later configurations come at ``box``; ``parcel`` is the one that holds already (-1: that of
    the start does). At ``loader`` that process is asked, at ``supervisor`` for another program.
    """
    if parcel >= 0:
        facts = replace(facts, plan=at_once(unpack(parcel, facts.plan.state)))
    proxy = LiveProxy(facts)
    run(
        serve(
            proxy,
            sock,
            on_turn=on_turn,
            box=box,
            loader=loader,
            tcp=tcp,
            token=token,
            supervisor=supervisor,
            tls=tls,
        )
    )
    return 0


async def serve(
    proxy: LiveProxy,
    sock: socket.socket | None,
    connection_s: float = CONNECTION_S,
    on_turn: Callable[[], None] = lambda: None,
    box: socket.socket | None = None,
    loader: socket.socket | None = None,
    tcp: socket.socket | None = None,
    token: Token | None = None,
    supervisor: socket.socket | None = None,
    tls: AdminTls | None = None,
) -> None:
    """Answers until SIGTERM, which ends it at once: nothing here is worth waiting for."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.set_exception_handler(log_loop_error)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    times = Times()

    def more_time(request: web.Request, more_s: float) -> None:
        """A question to the loader, or for another program, takes as long as that does; who listens to events stays."""
        times.limit(request.protocol, connection_s + more_s)

    desk = None if supervisor is None else UpgradeDesk(supervisor)
    # A compressed question is none that can be read: what unpacks it would log whatever a client sends.
    loader_desk = None if loader is None else LoaderDesk(loader)
    runner = web.AppRunner(
        _make_app(proxy, loader_desk, desk, more_time, times.know, token),
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        auto_decompress=False,
        logger=http_log,
    )
    await runner.setup()
    server = runner.server
    assert server is not None

    async def take(parcel: int) -> None:
        proxy.take_plan(at_once(unpack(parcel, proxy.state)))

    if box is not None:
        Inbox(box, take)
    keep_turning(on_turn)
    if tls is not None:
        keep_turning(tls.follow)
    listeners = [
        # Counted for each: strangers, who may come by TCP, must not keep operators out of the Unix socket.
        await loop.create_server(partial(accept, server, times, connection_s, {}, way), sock=each)
        for each, way in ((sock, None), (tcp, tls))
        if each is not None
    ]
    if desk is not None:
        desk.listen(partial(_leave, listeners, server, stop, loader_desk))
    try:
        await stop.wait()
    finally:
        for listener in listeners:
            listener.close()
        times.cut_all()
        await runner.cleanup()


def _leave(
    listeners: Sequence[asyncio.Server],
    server: web.Server,
    stop: asyncio.Event,
    loader_desk: LoaderDesk | None,
) -> None:
    """Another program answers from now on; who has asked already gets an answer, and then ``stop`` is set."""
    for listener in listeners:
        listener.close()
    if loader_desk is not None:
        loader_desk.on_replaced()

    async def wait() -> None:
        while server.connections:  # noqa: ASYNC110  # their time is limited
            await asyncio.sleep(LEAVE_STEP_S)
        stop.set()

    spawn(wait(), "another program")


Answer = Callable[[web.Request], Awaitable[msgspec.Struct | list[msgspec.Struct]]]
MoreTime = Callable[[web.Request, float], None]
QuestionT = TypeVar("QuestionT", bound=msgspec.Struct)


class _QuestionError(Exception):
    """The body is none of such a question."""


async def _read(request: web.Request, kind: type[QuestionT], allowed: str) -> QuestionT:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise _QuestionError(f"question: {error}; allowed is {allowed}") from error


def _make_app(
    proxy: LiveProxy,
    loader_desk: LoaderDesk | None,
    upgrades: UpgradeDesk | None,
    more_time: MoreTime,
    know: Callable[[web.RequestHandler], None],
    token: Token | None = None,
) -> web.Application:
    app = web.Application(
        client_max_size=MOST_BODY_BYTES, middlewares=[_errors_as_json, _gate(token, know)]
    )
    _add_questions(app, proxy)
    add_standing(app, proxy)
    desk = ControlDesk(proxy)
    app.on_startup.append(desk.begin)
    _add_control(app, desk)
    _add_loader(app, loader_desk, more_time)
    if upgrades is not None:
        _add_upgrade(app, upgrades, more_time)
    add_dashboard(app)
    _add_events(app, Events(proxy, proxy.heat), more_time)
    return app


def _gate(token: Token | None, know: Callable[[web.RequestHandler], None]) -> Middleware:
    """
    Who asks by TCP must be allowed to; at the Unix socket its file has seen to that.

    Browsers come to both (``ssh -L 9180:/run/wsproxy/4711.sock``), and ask what any page wants them to.
    """
    own_name = socket.gethostname()

    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "")
        why, status, more = "", 403, {}
        if comes_by_tcp(request):
            why = may_ask(request.method, request.path, shown, token)
            if token is not None:
                status, more = 401, {"WWW-Authenticate": "Bearer"}
        # Whoever has shown the token is no page of another site.
        has_shown = token is not None and token.fits(shown)
        if not why and not has_shown and not is_open(request.method, request.path):
            why, status, more = comes_from_elsewhere(request.headers, own_name), 403, {}
        if why:
            log.info("%s: %s %s is refused", request.remote, request.method, request.path)
            return _json(ErrorAnswer(why), status, more)
        if not is_open(request.method, request.path):
            know(request.protocol)
        return await handler(request)

    return gate


def _add_upgrade(app: web.Application, desk: UpgradeDesk, more_time: MoreTime) -> None:
    async def upgrade(request: web.Request) -> msgspec.Struct:
        more_time(request, ANSWER_S)
        return await desk.ask(who_asks(request))

    _add(app, "POST", UPGRADE_PATH, upgrade)


def _add(app: web.Application, method: str, path: str, answer: Answer) -> None:
    async def handle(request: web.Request) -> web.Response:
        return _json(await answer(request))

    app.router.add_route(method, path, handle)


def _add_questions(app: web.Application, proxy: LiveProxy) -> None:
    async def explain(request: web.Request) -> msgspec.Struct:
        allowed = '{"method": "GET", "url": "http://HOST/PATH", "headers": ["NAME: VALUE"]}'
        return proxy.explain(await _read(request, ExplainQuestion, allowed))

    async def status(_request: web.Request) -> msgspec.Struct:
        return proxy.status()

    async def changes(request: web.Request) -> msgspec.Struct:
        return proxy.changes(_since(request, "a change"))

    _add(app, "POST", EXPLAIN_PATH, explain)
    _add(app, "GET", STATUS_PATH, status)
    _add(app, "GET", CHANGES_PATH, changes)


def _since(request: web.Request, of_what: str) -> int:
    since = request.query.get("since", "0")
    if not (since.isascii() and since.isdecimal() and len(since) <= MOST_DIGITS):
        raise _QuestionError(
            f"since: found {since[:80]!r}; allowed is the number of {of_what}, 0 for all that are kept"
        )
    return int(since)


def _add_events(app: web.Application, events: Events, more_time: MoreTime) -> None:
    async def listen(request: web.Request) -> web.StreamResponse:
        since = _since(request, "a change")
        if events.is_full:
            text = f"found {MOST_LISTENERS} who listen; allowed are that many: close a dashboard"
            return _json(ErrorAnswer(text), 503)
        more_time(request, LISTENING_S)
        return await events.listen(request, since)

    async def heat(request: web.Request) -> msgspec.Struct:
        return events.answer(_since(request, "a column"))

    app.cleanup_ctx.append(events.keep)
    app.router.add_get(EVENTS_PATH, listen, allow_head=False)
    _add(app, "GET", HEAT_PATH, heat)


def _add_control(app: web.Application, desk: ControlDesk) -> None:
    async def servers(request: web.Request) -> msgspec.Struct:
        return await desk.servers(request.query.get("target", ""))

    async def why(request: web.Request) -> list[msgspec.Struct]:
        return [*await desk.why(request.query.get("target", ""))]

    async def hold(request: web.Request) -> msgspec.Struct:
        allowed = '{"target": "SERVER", "reason": "", "for_s": 0}'
        verb = request.path.rpartition("/")[2]
        return await desk.hold(verb, await _read(request, Word, allowed), who_asks(request))

    async def set_numbers(request: web.Request) -> msgspec.Struct:
        allowed = '{"target": "SERVER", "weight": 2, "max_connections": 100, "reason": ""}'
        return await desk.set_numbers(await _read(request, Numbers, allowed), who_asks(request))

    async def log_level(request: web.Request) -> msgspec.Struct:
        question = None
        if request.method == "POST":
            question = await _read(request, LogLevelQuestion, '{"level": "Stats"}')
        return await desk.set_log_level(question, who_asks(request))

    async def requests(_request: web.Request) -> msgspec.Struct:
        return await desk.requests()

    async def kill(request: web.Request) -> msgspec.Struct:
        allowed = '{"id": "0000107f-0000002a"}'
        return await desk.kill(await _read(request, KillQuestion, allowed), who_asks(request))

    async def drain_all(request: web.Request) -> msgspec.Struct:
        word = await _read(request, AllWord, '{"reason": ""}')
        return await desk.drain_all(request.path == DRAIN_ALL_PATH, word, who_asks(request))

    async def maintain(request: web.Request) -> msgspec.Struct:
        word = await _read(
            request,
            MaintenanceWord,
            '{"on": true, "cluster": "shop", "reason": "release", "for_s": 1800}',
        )
        return await desk.maintain(word, who_asks(request))

    _add(app, "POST", DRAIN_ALL_PATH, drain_all)
    _add(app, "POST", MAINTENANCE_PATH, maintain)
    _add(app, "POST", RESUME_ALL_PATH, drain_all)
    _add(app, "GET", SERVERS_PATH, servers)
    _add(app, "GET", WHY_PATH, why)
    for path in HOLD_PATHS:
        _add(app, "POST", path, hold)
    _add(app, "POST", SET_PATH, set_numbers)
    _add(app, "GET", LOG_LEVEL_PATH, log_level)
    _add(app, "POST", LOG_LEVEL_PATH, log_level)
    _add(app, "GET", REQUESTS_PATH, requests)
    _add(app, "POST", KILL_PATH, kill)


def _add_loader(app: web.Application, desk: LoaderDesk | None, more_time: MoreTime) -> None:
    async def ask_loader(request: web.Request) -> web.Response:
        if desk is None:
            return _json(ErrorAnswer("this proxy has no process that reads configurations"), 404)
        more_time(request, ANSWER_S)
        try:
            return _json(await desk.ask(request.path, await request.read(), who_asks(request)))
        except msgspec.DecodeError as error:
            allowed = '{"is_dry": true} for a reload, {"to": GENERATION} for a return'
            return _json(ErrorAnswer(f"question: {error}; allowed is {allowed}, or nothing"), 400)
        except LookupError as error:
            return _json(ErrorAnswer(str(error)), 400)
        except LoaderEndedError:
            return _json(
                ErrorAnswer(
                    "the loader was ended before it answered, and goes on with what it had begun; `wsproxy history` tells what came of it"
                ),
                503,
            )
        except TimeoutError:
            return _json(
                ErrorAnswer("the loader does not answer; the log of the proxy says why"), 504
            )

    app.router.add_post(RELOAD_PATH, ask_loader)
    app.router.add_post(ROLLBACK_PATH, ask_loader)
    app.router.add_get(HISTORY_PATH, ask_loader)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer is JSON, and an error says what would be right."""
    try:
        return await handler(request)
    except (_QuestionError, RequestRefusedError, StartError) as error:
        return _json(ErrorAnswer(str(error)), 400)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = ErrorAnswer(
            f"method: found {request.method}; allowed for {request.path} is {allowed}"
        )
        return _json(answer, error.status, {"Allow": allowed})
    except web.HTTPNotFound:
        routes = request.app.router.resources()
        allowed = ", ".join(
            f"{route.method} {each.canonical}"
            for each in routes
            for route in each
            if route.method != "HEAD"
        )
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
    answer: msgspec.Struct | list[msgspec.Struct],
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(answer),
        status=status,
        content_type="application/json",
        headers=headers,
    )
