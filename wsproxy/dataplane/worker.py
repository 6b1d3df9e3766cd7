"""
One worker process: an event loop, the engine of the fast path, and its end.

Started by ``process.supervisor`` after the fork. Must not fork, and must not touch what other workers own except through the
shared state.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from wsproxy._fast.downstream import DownstreamProtocol
from wsproxy._fast.engine import Engine
from wsproxy._fast.pipe import Pipe
from wsproxy._fast.poller import Door, Poller
from wsproxy.config.settings import LONGEST_S
from wsproxy.dataplane import tasks
from wsproxy.dataplane.access_log import AccessKeeper
from wsproxy.dataplane.connections import make_engine
from wsproxy.dataplane.context import BoundListener, WorkerContext
from wsproxy.dataplane.explained import Decisions
from wsproxy.dataplane.files import FileFallback
from wsproxy.dataplane.introduction import IntroducingListener, reset
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.proxy_protocol import ProxyHeader
from wsproxy.dataplane.queue import WaitingRoom
from wsproxy.dataplane.resolve import Resolver
from wsproxy.dataplane.slowpath import SlowPath
from wsproxy.dataplane.witness import Witness

log = logging.getLogger("wsproxy.worker")


# How often deadlines are looked at: they are coarse on purpose, one walk instead of a timer a request.
SWEEP_S = 0.25
# So many connections at once, then requests have their turn: 1024 take 0.13 ms, where nothing of them is in a cache.
SWEEP_COUNT = 1024
# How often a stopping worker looks whether its last request has ended.
DRAIN_STEP_S = 0.05
# A client that waited in the listen queue when the worker was told to stop has so long for its handshake.
LAST_HANDSHAKE_S = 1.0
# Connections the kernel may hold for this worker; the same as the supervisor listened with.
BACKLOG = 4096


def run_worker(context: WorkerContext, on_ready: Callable[[], None]) -> int:
    """Serves until SIGTERM and then to the end of running requests; the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(context, on_ready))
    return 0


def build_engine(
    plan: Plan, worker_id: int, witness: Witness | None = None
) -> tuple[Engine, SlowPath]:
    """The engine of one worker, ready for connections, and its slow path."""
    settings = plan.settings
    files = None
    if settings.fallback.mode == "directory":
        files = FileFallback(Path(settings.fallback.directory))
    witness = witness or Witness()
    slow = SlowPath(
        Resolver(settings.upstream.resolve_s),
        files,
        settings.retry,
        plan.clusters,
        settings.queue,
        witness,
        Decisions(plan.config, plan.routes, settings.explain.trusted),
    )
    engine = make_engine(plan, worker_id, slow, _open_pipe() if settings.upstream.splice else None)
    slow.engine = engine
    witness.attach_to(engine)
    return engine, slow


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
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    witness = context.make_witness()
    engine, slow = build_engine(context.plan, context.worker_id, witness)
    access = context.make_access_keeper()
    access.attach_to(engine)
    engine.poller = Poller(engine)
    if slow.room.is_needed:
        slow.room.listen(context.plan.state.bell(context.worker_id))
    timeouts = context.plan.settings.timeouts
    servers = [
        await _open_door(engine, listener, timeouts.head_s) for listener in context.listeners
    ]
    tasks.spawn(_sweep(engine, slow.room, witness, access), "sweep")
    # One [[listener]] may have several addresses.
    for tls in {id(each.tls): each.tls for each in context.listeners if each.tls}.values():
        tasks.spawn(tls.watch(), "certificates")
    gc.collect()
    gc.freeze()  # what exists now stays; collections look only at what connections leave behind
    on_ready()
    await stop.wait()
    await _accept_queued(engine, context.listeners, timeouts.head_s)
    for server in servers:
        server.close()
    await _drain(engine, timeouts.shutdown_s)
    await tasks.end_all()
    witness.close()
    access.close()


async def _open_door(
    engine: Engine, listener: BoundListener, head_s: float
) -> asyncio.Server | IntroducingListener | Door:
    """Accepts from now on."""
    loop = asyncio.get_running_loop()
    options = await _tls_options(listener, head_s)
    # What it accepts inherits that: an answer's last bytes never wait for an acknowledgement.
    listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Counted before the handshake, which costs more than the rest; the loop's own server would ask after it.
    is_counted = listener.tls is not None and engine.limits_clients
    if listener.senders or is_counted:
        serve = partial(_serve, engine, listener, head_s)
        return IntroducingListener(engine.poller, listener.sock, listener.senders, head_s, serve)
    make = partial(DownstreamProtocol, engine)
    if listener.tls is None:
        door: Door = engine.poller.listen(listener.sock, make)
        return door
    return await loop.create_server(make, sock=listener.sock, backlog=BACKLOG, **options)


async def _serve(
    engine: Engine,
    listener: BoundListener,
    handshake_s: float,
    sock: socket.socket,
    header: ProxyHeader | None,
) -> None:
    """An accepted connection, of whom a PROXY header may have said who its client is."""
    downstream = DownstreamProtocol(engine)
    peer = None  # a load balancer that speaks for itself may do so as often as it likes
    if header is None:
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
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(
            lambda: downstream, sock, **_handshake(listener, handshake_s)
        )
    except BaseException:  # no handshake, so nobody else knows of its end
        downstream.leave()
        raise


async def _tls_options(listener: BoundListener, handshake_s: float) -> dict[str, Any]:
    """What the loop needs to speak TLS on this listener; nothing for a plain one."""
    if listener.tls is None:
        return {}
    await listener.tls.refresh()
    return _handshake(listener, handshake_s)


def _handshake(listener: BoundListener, handshake_s: float) -> dict[str, Any]:
    if listener.tls is None:
        return {}
    return {
        "ssl": listener.tls.context,
        "ssl_handshake_timeout": handshake_s,
        # Never before our own deadlines, which look whether the client still reads: see ``Stream.is_being_read``.
        "ssl_shutdown_timeout": LONGEST_S,
    }


async def _accept_queued(
    engine: Engine, listeners: tuple[BoundListener, ...], handshake_s: float
) -> None:
    """Takes the clients that already wait in the listen queues: closing the socket would reset them."""
    loop = asyncio.get_running_loop()
    handshakes = []
    for listener in listeners:
        if listener.senders:
            continue  # who they speak for may still be on its way, and a load balancer connects again
        options = _handshake(listener, min(handshake_s, LAST_HANDSHAKE_S))
        # No more than can have waited: who goes on connecting must not keep the worker from its end.
        for _ in range(BACKLOG):
            try:
                sock, _ = listener.sock.accept()
            except OSError:  # none waits (EAGAIN), or no descriptor is left for it
                break
            sock.setblocking(False)
            if listener.tls is None:
                engine.poller.adopt(sock.detach(), DownstreamProtocol(engine))
                continue
            make = partial(DownstreamProtocol, engine)
            handshakes.append(loop.connect_accepted_socket(make, sock, **options))
    await asyncio.gather(*handshakes, return_exceptions=True)


async def _sweep(engine: Engine, room: WaitingRoom, witness: Witness, access: AccessKeeper) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        while engine.sweep(SWEEP_COUNT):  # noqa: ASYNC110  # waits for nothing: requests have their turn
            await asyncio.sleep(0)
        room.sweep()
        witness.sweep()
        access.sweep()


async def _drain(engine: Engine, shutdown_s: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + shutdown_s
    # The fast path knows no events: it is asked, some times a second, only while stopping.
    while (left := engine.drain()) and loop.time() < until:  # noqa: ASYNC110
        await asyncio.sleep(DRAIN_STEP_S)
    if left:
        log.warning("%d requests did not end within %g s and are cut", left, shutdown_s)
    engine.close_all()
    await asyncio.sleep(0)  # connection_lost of what was cut
    engine.poller.close()
