"""
How a process that was just forked becomes a keeper, or a keeper's guard: what it closes, hears and is called.

Driven by ``runner`` and by keepers. What it does then is ``keeper``'s.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import signal
import socket
from functools import partial
from types import FrameType

from wsproxy.config.settings_groups import ResourceSettings
from wsproxy.ha.resource import processes
from wsproxy.ha.resource.keeper import Keeper
from wsproxy.ha.resource.messages import Identity

log = logging.getLogger("wsproxy.ha")

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE)  # fmt: skip


def fork_guard(
    resource: ResourceSettings, identity: Identity, keeper: int, lock: socket.socket
) -> int:
    """
    A process that does nothing until the keeper (a descriptor of it) has ended, and then is one that ends the resource: killed, and released; its pid.

    So kill -9 of the keeper alone, or of keeper and member, leaves nothing. Nobody else with its mark is a keeper meanwhile: it has the lock, too.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        processes.be_named("wsproxy-guard")
        os.setsid()  # a session of its own, by which it is told from the resource's processes
        first, second = sorted((keeper, lock.fileno()))
        os.closerange(3, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, 1 << 16)
        signal.set_wakeup_fd(-1)
        while not select.select([keeper], [], [])[0]:
            pass
        processes.kill(processes.marked(identity.mark))
        log.error("ha: resource %s: its keeper has ended; it is killed", resource.name)
        Keeper(resource, identity, None, partial(fork_guard, resource, identity), lock).run()
    except BaseException:
        log.exception("ha: the guard of resource %s failed", resource.name)
    finally:
        os._exit(0)


def be_keeper(resource: ResourceSettings, identity: Identity, channel: socket.socket) -> None:
    """In a process that was just forked: everything of its parent is closed, and it is one. Returns when it has nothing to keep."""
    processes.be_named("wsproxy-keeper")
    faulthandler.disable()
    signal.set_wakeup_fd(-1)
    for number in _HEARD:
        # No word of anybody but the member ends it; a handler, because what is ignored programs would ignore, too.
        signal.signal(number, _hear_nothing)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()  # who kills the proxy's whole group leaves somebody who stops the resource
    own = channel.fileno()
    os.closerange(3, own)
    os.closerange(own + 1, 1 << 16)
    Keeper(resource, identity, channel, partial(fork_guard, resource, identity)).run()


def _hear_nothing(_number: int, _frame: FrameType | None) -> None:
    """See ``be_keeper``."""
