"""
One worker process: an event loop, the engine of the fast path, and its end.

Started by ``process.supervisor`` after the fork. Must not fork, and must not touch what other workers own except through the
shared state.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, cast

import uvloop

from wsproxy._fast.decide.view import View
from wsproxy._fast.net import doors
from wsproxy._fast.net.doors import Door
from wsproxy._fast.net.pipe import Pipe
from wsproxy._fast.net.poller import Poller
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.http1 import Http1, Http1Clients, Http1Protocol
from wsproxy._fast.proxy.running import answer_board
from wsproxy._fast.state.segment import SharedState
from wsproxy.config.settings_process import LONGEST_S
from wsproxy.dataplane import tasks
from wsproxy.dataplane.access_keeper import AccessKeeper
from wsproxy.dataplane.arrival import Arrivals
from wsproxy.dataplane.context import BoundListener, WorkerContext
from wsproxy.dataplane.introduction import IntroducingListener, reset
from wsproxy.dataplane.leave import accept_queued, drain, retire, unused_of
from wsproxy.dataplane.parcel import unpack
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.post import Retire
from wsproxy.dataplane.proxy_protocol import ProxyHeader
from wsproxy.dataplane.queue import WaitingRoom
from wsproxy.dataplane.served import ServedPlan
from wsproxy.dataplane.slowpath import SlowPath
from wsproxy.dataplane.steps import Steps, at_once
from wsproxy.dataplane.sweeper import Sweeper
from wsproxy.dataplane.tracing import Tracing
from wsproxy.dataplane.view import view_steps
from wsproxy.dataplane.witness import Witness

log = logging.getLogger("wsproxy.worker")

# What the kernel takes of an answer and cannot send yet. By itself it takes up to 2.6 MB at once of a client that reads slowly (twice ten
# segments, which have 64 KiB on 127.0.0.1): of 2,000 such clients that is 5 GB to copy and to hold, and everybody else waits for seconds.
# Twice what is written at a time, so that the way to a fast client never runs empty: what is in flight does not count.
MOST_UNSENT = 131072
# Warm connections are counted each so many sweeps: 2000 servers take 1 ms.
IDLE_SWEEPS = 4
# So many connections at once, then requests have their turn: 1024 take 0.13 ms, where nothing of them is in a cache.
SWEEP_COUNT = 1024
# The part of a worker's descriptors (an eighth) that connections may hold whose last answer is sent: who comes must not have
# to wait for who goes.
LINGERING_SHARE = 8
# No kernel gives a process more (fs.nr_open).
MOST_FILES = 1 << 30
# Descriptors below this number need no memory in the event loop when they come: 128 KiB, once. libuv (1.52) keeps a table by
# number, and frees the old one where there is no memory for a larger one, but goes on using it.
ROOM_FOR_FILES = 16384


def run_worker(context: WorkerContext, on_ready: Callable[[], None]) -> int:
    """Serves until SIGTERM and then to the end of running requests; the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        serving = loop.create_task(
            serve(context, on_ready), name="serve"
        )  # the one that starts all others
        while not serving.done():
            try:
                loop.run_until_complete(serving)
            except MemoryError:
                if serving.done():
                    raise
                # What the loop itself found no memory for is lost, one connection or timer; it goes on with the next.
                with contextlib.suppress(MemoryError):
                    log.error("the event loop found no memory and goes on")
            finally:
                if serving.done():
                    tasks.hear_no_more()
    return 0


def build_engine(
    plan: Plan, worker_id: int, witness: Witness | None = None
) -> tuple[Engine, SlowPath]:
    """The engine of one worker, ready for connections, and its slow path."""
    settings = plan.settings
    witness = witness or Witness()
    slow = SlowPath(witness)
    most_of_client = settings.limits.client_connections
    engine = Engine(
        worker_id=worker_id,
        view=at_once(_view_to_serve(plan)),
        slow=slow,
        most_lingering=_most_files() // LINGERING_SHARE,
        client_counts=plan.state.client_counts if most_of_client else None,
        most_of_client=most_of_client,
        pipe=_open_pipe() if settings.upstream.splice else None,
        meters=plan.state.meters,
        state=plan.state,
    )
    slow.engine = engine
    witness.attach_to(engine)
    return engine, slow


def take_plan(engine: Engine, plan: Plan) -> None:
    """See ``taking_steps``."""
    at_once(taking_steps(engine, plan))


def taking_steps(engine: Engine, plan: Plan) -> Steps[None]:
    """
    Requests that begin from now on go by this plan; those that have begun end by theirs, in the slow path and the logs too.

    Warm connections to servers about which nothing has changed stay; the others are closed. ``Plan.apply`` is another step,
    and is done once for all workers.

    Raises:
        OSError: a folder that its settings name is not there; the worker goes on by the plan that it has.
    """
    engine.take_view((yield from _view_to_serve(plan, engine.view)))


def _taking_steps(witness: Witness, engine: Engine, plan: Plan) -> Steps[None]:
    yield from taking_steps(engine, plan)
    witness.take_plan(plan)


def _view_to_serve(plan: Plan, before: View | None = None) -> Steps[View]:
    view = yield from view_steps(plan, with_pools=True, before=before)
    view.plan.check()
    return view


def _most_files() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_FILES if limit == resource.RLIM_INFINITY else min(limit, MOST_FILES)


def _open_pipe() -> Pipe | None:
    """None where there is none to be had: bodies are copied then."""
    try:
        return Pipe()
    except OSError as error:
        log.warning("upstream.splice: no pipe (%s): bodies are copied", error)
        return None


async def serve(context: WorkerContext, on_ready: Callable[[], None]) -> None:
    """Accepts on the worker's sockets until SIGTERM, then drains."""
    loop = asyncio.get_running_loop()
    stop, leave = asyncio.Event(), asyncio.Event()
    words: list[Retire] = []

    def on_stop() -> None:
        stop.set()
        leave.set()

    def on_retire(word: Retire) -> None:
        words[:] = [word]
        leave.set()

    loop.set_exception_handler(tasks.log_loop_error)
    loop.add_signal_handler(signal.SIGTERM, on_stop)
    _make_room(loop)
    witness = context.make_witness()
    plan = context.plan
    if context.parcel >= 0:
        plan = at_once(unpack(context.parcel, plan.state))
        plan.read_keyrings(at_once(plan.keyring_steps()))
    engine, slow = build_engine(plan, context.worker_id, witness)
    witness.take_plan(plan)
    arrivals = Arrivals(context.worker_id, engine, plan, partial(_taking_steps, witness))
    if context.box is not None:
        arrivals.listen(context.box, on_retire)
    access = context.make_access_keeper()
    access.attach_to(engine)
    tracing = Tracing(engine, context.traces)
    engine.poller = Poller(engine)
    bell = plan.state.bell(context.worker_id)
    if bell >= 0:  # without one, sweeps see whose turn it is
        slow.room.listen(bell)
    servers = [await _open_door(engine, listener) for listener in context.listeners]
    engine.take_leave(plan.state.is_drained)
    sweeper = Sweeper(
        engine.poller,
        partial(
            _sweep,
            engine,
            slow.room,
            witness,
            access,
            tracing,
            arrivals,
            plan.state,
            context.on_turn,
            count(1),
        ),
    )
    # One [[listener]] may have several addresses.
    for tls in {id(each.tls): each.tls for each in context.listeners if each.tls}.values():
        tasks.spawn(tls.watch(), "certificates")
    gc.collect()
    gc.freeze()  # what exists now stays; collections look only at what connections leave behind
    context.on_turn()
    on_ready()
    await leave.wait()
    word = words[0] if words and not stop.is_set() else None
    await accept_queued(engine, unused_of(context.listeners, word), _head_s(engine), _handshake)
    for server in servers:
        server.close()
    if word is not None:
        arriving = [each for each in servers if isinstance(each, IntroducingListener)]
        await retire(
            engine,
            word,
            lambda: sum(each.arriving for each in arriving) + len(engine.poller.arriving),
            stop,
        )
    # One that was replaced has had its time.
    await drain(engine, plan.settings.timeouts.shutdown_s if stop.is_set() else 0.0)
    sweeper.close()
    engine.poller.close()
    await tasks.end_all()
    for each in (witness, access, tracing):
        each.close()


def _make_room(loop: asyncio.AbstractEventLoop) -> None:
    """Has the loop's table of descriptors grow now, while there is memory."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        high = fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, min(ROOM_FOR_FILES, _most_files()) - 1)
        try:
            loop.add_reader(high, lambda: None)
            loop.remove_reader(high)
        finally:
            os.close(high)


async def _open_door(engine: Engine, listener: BoundListener) -> IntroducingListener | Door:
    """
    Accepts from now on.

    TLS too, on sockets of our own or not: the loop's own server would count a client only after its handshake, which costs more than the rest, and one
    that finds no memory or no descriptor for a connection accepts none any more.
    """
    # What it accepts inherits that: an answer's last bytes never wait for an acknowledgement.
    listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
    if listener.tls is not None:
        await listener.tls.refresh()
    if listener.senders or (listener.tls is not None and listener.tls.terms is None):
        serve = partial(_serve, engine, listener)
        return IntroducingListener(
            engine.poller, listener.sock, listener.senders, partial(_head_s, engine), serve
        )
    terms = None if listener.tls is None else listener.tls.terms
    return doors.listen(engine.poller, listener.sock, Http1Clients(engine), terms)


async def _serve(
    engine: Engine,
    listener: BoundListener,
    sock: socket.socket,
    header: ProxyHeader | None,
) -> None:
    """An accepted connection, of whom a PROXY header may have said who its client is."""
    is_loops = listener.tls is not None and listener.tls.terms is None
    downstream: Http1 = Http1Protocol(engine) if is_loops else Http1(engine)
    peer = None  # a load balancer that speaks for itself may do so as often as it likes
    if header is None:
        if engine.limits_clients:
            with contextlib.suppress(OSError):  # gone already
                peer = sock.getpeername()[0]
    elif header.source is not None and header.destination is not None:
        downstream.introduce(header.source, header.destination)
        peer = header.source[0]
    if not downstream.admit(peer):
        reset(sock)
        return
    if listener.tls is None:
        engine.poller.adopt(sock.detach(), downstream)
        return
    if listener.tls.terms is not None:
        doors.adopt(engine.poller, sock.detach(), downstream, listener.tls.terms)
        return
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.connect_accepted_socket(
            lambda: cast(Http1Protocol, downstream), sock, **_handshake(listener, _head_s(engine))
        )
    except BaseException:  # no handshake, so nobody else knows of its end
        downstream.handshake_ended(False, False)
        raise
    secured = transport.get_extra_info("ssl_object")
    downstream.handshake_ended(True, bool(secured and secured.session_reused))


def _head_s(engine: Engine) -> float:
    """timeouts.head_s of the configuration that the worker goes by now."""
    served: ServedPlan = engine.view.plan
    return served.settings.timeouts.head_s


def _handshake(listener: BoundListener, handshake_s: float) -> dict[str, Any]:
    if listener.tls is None:
        return {}
    return {
        "ssl": listener.tls.context,
        "ssl_handshake_timeout": handshake_s,
        # Never before our own deadlines, which look whether the client still reads: see ``Stream.is_being_read``.
        "ssl_shutdown_timeout": LONGEST_S,
    }


def _sweep(
    engine: Engine,
    room: WaitingRoom,
    witness: Witness,
    access: AccessKeeper,
    tracing: Tracing,
    arrivals: Arrivals,
    state: SharedState,
    on_turn: Callable[[], None],
    sweeps: Iterator[int],
) -> Iterator[None]:
    """The steps of one sweep: without it nobody has a deadline."""
    on_turn()
    while engine.sweep(SWEEP_COUNT):
        yield
    engine.take_leave(state.is_drained)
    if state.board is not None and state.board.is_asked(engine.worker_id):
        answer_board(engine, state.board)
    engine.poller.tend()
    while room.sweep():
        yield
    arrivals.sweep()
    witness.sweep()
    access.sweep()
    tracing.sweep()
    if next(sweeps) % IDLE_SWEEPS == 0:
        engine.note_idle()
