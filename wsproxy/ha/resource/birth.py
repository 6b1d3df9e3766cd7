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
from collections.abc import Sequence
from functools import partial
from types import FrameType

from wsproxy.config.settings_groups import ResourceSettings
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.own_process import call_process
from wsproxy.ha.resource import processes
from wsproxy.ha.resource.keeper import Keeper
from wsproxy.ha.resource.messages import Identity
from wsproxy.ha.resource.page import Page

log = logging.getLogger("wsproxy.ha")

_LONGEST_S = 3600.0
_ENDED: Sequence[processes.Known] = ()

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE)  # fmt: skip


def fork_guard(
    resource: ResourceSettings, identity: Identity, keeper: int, lock: socket.socket, page: Page
) -> int:
    """
    A process that does nothing until the keeper (a descriptor of it) has ended, and then is one that ends the resource: killed, and released; its pid.

    So kill -9 of the keeper alone, or of keeper and member, leaves nothing. Nobody else with its mark is a keeper meanwhile: it has the lock, too. A keeper that
    hangs, whether anybody else lives who would see it or not, is ended at the moment by which it has promised to act (``page``).
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        call_process("wsproxy-guard")
        os.setsid()  # a session of its own, by which it is told from the resource's processes
        last = 2
        for kept in sorted((keeper, lock.fileno(), page.sooner)):
            os.closerange(last + 1, kept)
            last = kept
        os.closerange(last + 1, 1 << 16)
        signal.set_wakeup_fd(-1)
        hung = _await_end(keeper, parent, page)
        left = [*page.known, *hung]
        processes.kill(each.pid for each in left if processes.lives(each))
        processes.kill(processes.marked(identity.mark))
        how = "did not act in time and is killed" if hung is not _ENDED else "has ended"
        log.error("ha: resource %s: its keeper (pid %d) %s; it is killed", resource.name, parent, how)  # fmt: skip
        again = partial(fork_guard, resource, identity)
        Keeper(resource, identity, None, again, lock, left=left, ends_at=page.ends_at).run()
    except BaseException:
        log.exception("ha: the guard of resource %s failed", resource.name)
    finally:
        os._exit(0)


def _await_end(keeper: int, pid: int, page: Page) -> Sequence[processes.Known]:
    """``_ENDED``: of itself; else it was late and is killed: what descended from it."""
    while True:
        left_s = page.due - boot_clock()
        found = select.select([keeper, page.sooner], [], [], min(max(left_s, 0.0), _LONGEST_S))[0]
        if keeper in found:
            return _ENDED
        page.heard()
        if boot_clock() < page.due:
            continue
        me = os.getpid()
        known = (processes.known_of(each) for each in processes.descendants(pid) if each != me)
        hung = [each for each in known if each is not None]
        signal.pidfd_send_signal(keeper, signal.SIGKILL)
        select.select([keeper], [], [])
        return hung


def be_keeper(resource: ResourceSettings, identity: Identity, channel: socket.socket) -> None:
    """In a process that was just forked: everything of its parent is closed, and it is one. Returns when it has nothing to keep."""
    call_process("wsproxy-keeper")
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
