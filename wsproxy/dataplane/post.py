"""
How a parcel goes from one process to another: a number, and a descriptor of memory that both have then.

Used by ``process.parcels`` (the supervisor's post office), by the loader that sends and by all that receive. Must not block.
"""

from __future__ import annotations

import os
import socket

# Configurations that can be returned to.
KEPT = 5
_MESSAGE_BYTES = 4096
# To the loader: it is to read the files again.
READ_AGAIN = b"SIGHUP"


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends whose messages stay whole; neither blocks."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send_parcel(sock: socket.socket, generation: int, fd: int) -> None:
    """
    The parcel, whole or not at all.

    Raises:
        OSError: the other end is gone; BlockingIOError: it does not read.
    """
    socket.send_fds(sock, [str(generation).encode()], [fd])


def receive_parcel(sock: socket.socket) -> tuple[int, int] | None:
    """
    Generation and descriptor of the newest parcel that came, the caller's to close; None: none did, or the other end is gone.

    Older ones that nobody took up are closed.
    """
    newest: tuple[int, int] | None = None
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(sock, _MESSAGE_BYTES, 1)
        except (BlockingIOError, ConnectionError):
            return newest
        if not data:
            return newest
        if fds:
            if newest is not None:
                os.close(newest[1])
            newest = int(data), fds[0]
