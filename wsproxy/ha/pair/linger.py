"""
An address that has just moved away stays usable here for answers that are under way, and is told to nobody.

Driven by ``commands`` for a planned failover. Without it a request whose answer was being made when keepalived took the address off the
interface would never be answered, and its client would not even hear so: one in six failovers on a busy machine (measured). The address
goes onto the loopback interface, and the kernel is told to answer ARP only for what is on the interface that was asked at
(arp_ignore, ip-sysctl): that stops in the moment in which keepalived takes the address away. Only IPv4: IPv6 asks in another way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wsproxy.errors import StartError
from wsproxy.ha.pair.programs import run_program

log = logging.getLogger("wsproxy.ha.pair")

# Answers that take longer than this were cut by a failover anyway: what the client sends next goes to the other node.
LINGER_S = 2.0
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


@asynccontextmanager
async def lingering(vip: str, interface: str) -> AsyncIterator[None]:
    """Within, and for LINGER_S behind it. Where it cannot be done a failover goes on without. # I/O."""
    setting = _SYSCTL / interface / "arp_ignore"
    if ":" in vip:
        yield
        return
    before = ""
    try:
        found = setting.read_text().strip()
        if found == "0":
            setting.write_text("1")
            before = found
        is_there = _ip("add", vip)
    except OSError as error:
        log.info("answers under way may be lost: %s", error)
        is_there = False
    try:
        yield
        if is_there:
            await asyncio.sleep(LINGER_S)
    finally:
        if is_there:
            _ip("del", vip)
        if before:
            with contextlib.suppress(OSError):
                setting.write_text(before)


def _ip(what: str, vip: str) -> bool:
    try:
        return not run_program("ip", "addr", what, f"{vip}/32", "dev", "lo")[0]
    except StartError:
        return False
