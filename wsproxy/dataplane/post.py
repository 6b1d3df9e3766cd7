"""
How a parcel goes from one process to another: a number, and a descriptor of memory that both have then.

Used by ``process.parcels`` (the supervisor's post office), by the loader that sends and by all that receive. Must not block.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket

import msgspec

log = logging.getLogger("wsproxy.reload")

# Configurations that can be returned to.
KEPT = 5
_MESSAGE_BYTES = 4096
# To the loader: it is to read the files again.
READ_AGAIN = b"SIGHUP"
# To who sent a parcel: it came without its descriptor, for which this process had no room. It is sent again a while later.
SEND_AGAIN = b"again"
AGAIN_S = 2.0


class Retire(msgspec.Struct):
    """
    To a worker that is replaced: another program accepts connections on its sockets, but for the listeners at ``unused``.

    Requests that run get ``requests_s``, tunnels ``tunnels_s``.
    """

    requests_s: float
    tunnels_s: float
    unused: list[int] = []


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


def send_retire(sock: socket.socket, word: Retire) -> None:
    """Raises as ``send_parcel`` does."""
    sock.send(msgspec.json.encode(word))


def receive_parcel(
    sock: socket.socket, words: list[Retire] | None = None
) -> tuple[int, int] | None:
    """
    Generation and descriptor of the newest parcel that came, the caller's to close; None: none did.

    Older ones that nobody took up are closed. One whose descriptor found no room here is asked for again. ``words`` gets what else was said.

    Raises:
        EOFError: the other end is gone, and nothing came before.
    """
    newest: tuple[int, int] | None = None
    while True:
        try:
            data, fds, _, _ = socket.recv_fds(sock, _MESSAGE_BYTES, 1)
        except BlockingIOError:
            return newest
        except ConnectionError:
            data = b""
            fds = []
        if not data:
            if newest is None:
                raise EOFError
            return newest
        if fds:
            if newest is not None:
                os.close(newest[1])
            newest = int(data), fds[0]
        elif data.isdigit():
            log.error(
                "no descriptor is left for generation %s of the configuration; it is asked for again",
                data.decode(),
            )
            with contextlib.suppress(OSError):  # whoever sent it does not read, or is gone
                sock.send(SEND_AGAIN)
        elif words is not None:
            words.append(msgspec.json.decode(data, type=Retire))
