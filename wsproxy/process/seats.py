"""
Which workers get new connections: the kernel's choice among the SO_REUSEPORT sockets of a port.

Driven by ``process.supervisor``. By itself the kernel spreads connections over all sockets, also those of workers that hang
or are not there. A classic BPF program on the group chooses among the others. Unlike shutdown(2), which would take a socket
out of the group for the price of a reset for whoever waits in its queue, it leaves the queue to the worker or its successor, and
needs no privilege (Linux 4.6). Must not touch connections.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
from collections.abc import Iterable, Sequence

logger = logging.getLogger(__name__)

# asm-generic/socket.h
_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68  # Linux 5.3

# linux/filter.h, linux/bpf_common.h: code, jump if true, jump if false, operand
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_MODULO = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K


class Seats:
    """
    One for a proxy.

    ``sockets``: one of each port's group; in its group the socket of worker n is number n, because they began to listen in
    that order and none leaves.
    """

    def __init__(self, sockets: Sequence[socket.socket], worker_count: int) -> None:
        """All get connections."""
        self._sockets = sockets
        self._all = frozenset(range(worker_count))
        self._served = self._all

    def give(self, able: Iterable[int]) -> None:
        """From now on only these workers get new connections; all, where none is able."""
        served = frozenset(able) or self._all
        if served == self._served:
            return
        self._served = served
        for sock in self._sockets:
            try:
                if served == self._all:
                    _detach(sock, len(self._all))
                else:
                    _attach(sock, sorted(served))
            except OSError as error:
                logger.debug("new connections still go to all workers: %s", error)


def _detach(sock: socket.socket, worker_count: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
    except OSError:
        _attach(sock, range(worker_count))


def _attach(sock: socket.socket, numbers: Sequence[int]) -> None:
    """One of ``numbers`` at random."""
    code = [(_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, len(numbers))]
    for index, number in enumerate(numbers[:-1]):
        code += [(_JUMP_IF_EQUAL, 0, 1, index), (_RETURN, 0, 0, number)]
    code.append((_RETURN, 0, 0, numbers[-1]))
    text = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in code))
    # struct sock_fprog: number of instructions, where they are
    program = struct.pack("@HP", len(code), ctypes.addressof(text))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
