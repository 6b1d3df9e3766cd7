"""
In a network namespace of its own: a door whose clients meant another address, and what is told of one.

Driven by ``tests/unit/_fast/net/test_doors.py``, as a program under unshare(1); prints both ends as the connection and as
its client say them.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

from tests.support.bed import Bed, config_of, server
from wsproxy._fast.net import doors
from wsproxy._fast.proxy.http1 import Http1Protocol

IP_TRANSPARENT = 19  # linux/in.h
MEANT = ("10.9.9.9", 80)
PORT = 8080
# What sends a client of MEANT to the port, as an operator would for clients of somebody else's addresses.
COMMANDS = f"""
ip link set lo up
ip addr add 10.1.1.1/32 dev lo
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
ip route add 10.9.9.0/24 dev lo
nft 'table ip t {{
  chain came {{
    type filter hook prerouting priority mangle
    ip daddr {MEANT[0]} tcp dport {MEANT[1]} tproxy to 127.0.0.1:{PORT} meta mark set 1 accept
  }}
  chain goes {{
    type route hook output priority mangle
    ip daddr {MEANT[0]} meta mark set 1
  }}
}}'
"""


async def main() -> None:
    told: list[Any] = []

    class Greeter(Http1Protocol):
        def connection_made(self, transport: Any) -> None:
            told.extend(transport.get_extra_info(name) for name in ("peername", "sockname"))
            super().connection_made(transport)

    async with Bed(config_of(server("s", 1))) as bed:
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        sock.bind(("127.0.0.1", PORT))
        sock.listen()
        sock.setblocking(False)
        door = doors.listen(bed.engine.poller, sock, partial(Greeter, bed.engine))
        with socket.create_connection(MEANT, timeout=5) as peer:
            await bed.until(lambda: bool(told))
            print(told, [peer.getsockname(), peer.getpeername()], sep="\n")
        door.close()


if __name__ == "__main__":
    asyncio.run(main())
