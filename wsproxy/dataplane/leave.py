"""
The end of a worker: told to stop, or replaced by one of another program.

Driven by ``dataplane.worker``. A worker that stops ends idle clients at once and has ``timeouts.shutdown_s``. One that is replaced
is in no hurry: nobody's request fails for it. Its clients' connections end behind their next answer, and one without any when its
usual time is over; tunnels, which have no next answer, end one after the other, so that not all of them come back at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from wsproxy._fast.net.doors import adopt
from wsproxy._fast.net.poller import PlainTransport
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.http1 import Http1, Http1Protocol
from wsproxy._fast.proxy.running import end_tunnels
from wsproxy.dataplane.context import BACKLOG, BoundListener
from wsproxy.dataplane.post import Retire

log = logging.getLogger("wsproxy.worker")

# How often it is looked whether the last request has ended.
STEP_S = 0.05
# A client that waited in the listen queue when the worker was told to stop has so long for its handshake.
LAST_HANDSHAKE_S = 1.0
# Of ``upgrade.tunnels_s``: until then all tunnels live, and in the rest of it they end.
TUNNELS_STAY = 0.5

# What the loop is to do for TLS, for so many seconds of handshake.
HandshakeOf = Callable[[BoundListener, float], dict[str, Any]]


async def accept_queued(
    engine: Engine, listeners: Iterable[BoundListener], handshake_s: float, handshake: HandshakeOf
) -> None:
    """Takes the clients that already wait in the listen queues: closing the socket would reset them."""
    loop = asyncio.get_running_loop()
    handshakes = []
    begun: set[PlainTransport] = set()
    for listener in listeners:
        if listener.senders:
            continue  # who they speak for may still be on its way, and a load balancer connects again
        options = handshake(listener, min(handshake_s, LAST_HANDSHAKE_S))
        # No more than can have waited: who goes on connecting must not keep the worker from its end.
        for _ in range(BACKLOG):
            try:
                sock, _ = listener.sock.accept()
            except OSError:  # none waits (EAGAIN), or no descriptor is left for it
                break
            sock.setblocking(False)
            if listener.tls is None:
                engine.poller.adopt(sock.detach(), Http1(engine))
                continue
            if listener.tls.terms is not None:
                begun.add(
                    adopt(
                        engine.poller,
                        sock.detach(),
                        Http1(engine),
                        listener.tls.terms,
                        LAST_HANDSHAKE_S,
                    )
                )
                continue
            make = partial(Http1Protocol, engine)
            handshakes.append(loop.connect_accepted_socket(make, sock, **options))
    await asyncio.gather(*handshakes, return_exceptions=True)
    while begun & engine.poller.arriving:  # noqa: ASYNC110  # the fast path knows no events
        await asyncio.sleep(STEP_S)


async def drain(engine: Engine, shutdown_s: float) -> None:
    """To the end of running requests, or for so long; then nothing is open any more."""
    loop = asyncio.get_running_loop()
    until = loop.time() + shutdown_s
    # The fast path knows no events: it is asked, some times a second, only while stopping.
    while (left := engine.drain()) and loop.time() < until:  # noqa: ASYNC110
        await asyncio.sleep(STEP_S)
    if left and (cut := engine.count_served()):  # the others only linger
        log.warning("%d requests did not end within %g s and are cut", cut, shutdown_s)
    engine.close_all()
    await asyncio.sleep(0)  # connection_lost of what was cut


async def retire(
    engine: Engine, word: Retire, arriving: Callable[[], int], stop: asyncio.Event
) -> None:
    """
    Until no client is left, the times of ``word`` are over, or ``stop``; ``drain`` follows.

    ``arriving``: connections that were accepted and have not got as far as the engine.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    tunnels = end_tunnels(engine, _EVERY)
    while not stop.is_set():
        passed_s = loop.time() - began
        kept = tunnels_left(tunnels, passed_s, word.tunnels_s)
        running = end_tunnels(engine, kept)
        left = engine.retire() + arriving()
        if left == 0 or (passed_s >= word.requests_s and running == 0):
            return
        await asyncio.sleep(STEP_S)


_EVERY = 1 << 30


def tunnels_left(tunnels: int, passed_s: float, most_s: float) -> int:
    """
    How many of so many tunnels still live then: all in the first half of the time, and ever fewer in the second.

    One that was begun by a request of before may come on top, and takes the place of another.
    """
    if passed_s >= most_s:
        return 0
    stay_s = most_s * TUNNELS_STAY
    if passed_s < stay_s:
        return _EVERY
    return -int(-tunnels * (most_s - passed_s) // (most_s - stay_s))


def unused_of(listeners: Sequence[BoundListener], word: Retire | None) -> Sequence[BoundListener]:
    """Those that nobody listens on after this worker: all, where it is not replaced."""
    if word is None:
        return listeners
    return [listeners[at] for at in word.unused]
