"""
Connections that are open when the address moves as planned go on where they are, for a while, and nobody else learns that address.

Driven by ``commands``. keepalived takes the address off the interface: an answer that was being made could not be sent any more, and what a
client still sends goes to the other node, which knows no such connection and resets it. So the old node keeps the address on its loopback
interface, where the kernel is told not to answer ARP for it (arp_ignore, ip-sysctl), and the new one passes on to it what belongs
to no connection that began there (nftables: conntrack, dup). Both end after LINGER_S. Only IPv4. What cannot be had is gone without:
then requests under way are lost, one in three failovers on a busy machine (measured).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from wsproxy.errors import StartError
from wsproxy.ha.pair.conf import Pair
from wsproxy.ha.pair.programs import run_program

log = logging.getLogger("wsproxy.ha.pair")

# Nearly all answers are shorter; a connection that is kept longer meets the end of the other node's patience anyway.
LINGER_S = 10.0
TABLE = "wsproxy_failover"
_SYSCTL = Path("/proc/sys/net/ipv4/conf")


class Linger:
    """Of one node: as the old one it stays, as the new one it passes on, never both (packets would go round)."""

    def __init__(self) -> None:
        """Nothing of it."""
        self._timer: asyncio.TimerHandle | None = None
        self._vip = ""
        self._setting: Path | None = None
        self._passes_on = False

    def stay(self, pair: Pair) -> None:
        """The address is about to go from here. # I/O."""
        self.end()
        if ":" in pair.vip:
            return
        setting = _SYSCTL / pair.interface / "arp_ignore"
        try:
            if setting.read_text().strip() == "0":
                setting.write_text("1")
                self._setting = setting
        except OSError as error:
            log.info("connections end with the failover: %s: %s", setting, error.strerror)
            return
        if _told("ip", "addr", "add", f"{pair.vip_address}/32", "dev", "lo"):
            self._vip = pair.vip_address

    def pass_on(self, pair: Pair) -> None:
        """The address is about to come here, from the other node. # I/O."""
        self.end()
        if ":" in pair.vip:
            return
        # A packet that begins a connection is kept, and conntrack knows what follows it; everything else began at the other node.
        text = (
            f"table ip {TABLE} {{\n chain c {{\n  type filter hook prerouting priority -150;\n"
            f"  ip daddr {pair.vip_address} ct state new tcp flags & (syn | rst) == 0 dup to {pair.peer} device \"{pair.interface}\" drop\n }}\n}}\n"
        )  # fmt: skip
        self._passes_on = _told("nft", "-f", "-", given=text)

    def end_later(self) -> None:
        """After LINGER_S."""
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self.end)

    def end(self) -> None:
        """Now. # I/O."""
        self._stop_timer()
        if self._vip:
            _told("ip", "addr", "del", f"{self._vip}/32", "dev", "lo")
            self._vip = ""
        if self._setting is not None:
            with contextlib.suppress(OSError):
                self._setting.write_text("0")
            self._setting = None
        if self._passes_on:
            remove_table()
            self._passes_on = False

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def clean(pair: Pair | None) -> None:
    """What an agent left that was killed in those seconds. # I/O."""
    if pair is not None and ":" not in pair.vip:
        with contextlib.suppress(StartError):
            run_program("ip", "addr", "del", f"{pair.vip_address}/32", "dev", "lo")
    remove_table()


def remove_table() -> None:
    """Whether it is there or not."""
    with contextlib.suppress(StartError):
        run_program("nft", "-f", "-", given=f"table ip {TABLE} {{}}\ndelete table ip {TABLE}\n")


def _told(name: str, *words: str, given: str = "") -> bool:
    """Whether it was done."""
    try:
        code, said = run_program(name, *words, given=given)
    except StartError as error:
        code, said = 1, str(error)
    if code:
        log.info("connections end with the failover: %s", said)
    return not code
