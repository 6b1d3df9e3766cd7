"""
Whether the other end of a TCP connection has ended it: what a server sees of that, and what the other end's kernel says.

Used by ``backend``. Both are asked of the kernel, so neither waits for anybody's event loop; both ends are on this machine.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct

# linux/netlink.h, linux/sock_diag.h
_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, number, port
# linux/inet_diag.h, struct inet_diag_req_v2: family, protocol, what else is told, states; then the socket's two ends.
_ASKED = struct.Struct("=BBBBI")
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = struct.pack("=III", 0, _ANY_STATE, _ANY_STATE)
_ESTABLISHED, _CLOSE_WAIT = 1, 8  # the states in which an end has not ended

Address = tuple[str, int]


def is_seen(sock: socket.socket) -> bool:
    """Whether the end of the other side, or a reset, has arrived, whatever lies unread before it."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def is_sent(there: Address, here: Address) -> bool:
    """
    Whether the end at ``there`` has ended its direction: its own kernel says so, wherever the word of it is now.

    Raises: OSError: nobody can be asked.
    """
    ports = struct.pack("!HH", there[1], here[1])
    ends = b"".join(socket.inet_aton(each[0]).ljust(16, b"\0") for each in (there, here))
    asked = (
        _ASKED.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ANY_STATE)
        + ports
        + ends
        + _NO_COOKIE
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as sock:
        sock.send(_HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, 1, 0, 0) + asked)
        said = sock.recv(8192)
    if _HEADER.unpack_from(said)[1] == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", said, _HEADER.size)[0]
        if number == errno.ENOENT:  # closed, and nothing is left of it
            return True
        raise OSError(number, os.strerror(number))
    return said[_HEADER.size + 1] not in (_ESTABLISHED, _CLOSE_WAIT)
