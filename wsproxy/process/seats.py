"""
Which workers get new connections: the kernel's choice among the SO_REUSEPORT sockets of a port.

Driven by ``process.supervisor``. By itself the kernel spreads connections over all sockets, also those of workers that hang
or are not there. A classic BPF program on the group chooses among the others. Unlike shutdown(2), which would take a socket
out of the group for the price of a reset for whoever waits in its queue, it leaves the queue to the worker or its successor, and
needs no privilege (Linux 4.6). Must not touch connections.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Group:
    """
    The sockets of a port, by one of them; ``owners``: the worker that accepts on each.

    In the order in which they began to listen: that is how the kernel numbers them, and none leaves.
    """

    sock: socket.socket
    owners: tuple[int, ...]


def seat_only(sock: socket.socket, numbers: Sequence[int]) -> None:
    """New connections come to these sockets of the group only, where the kernel allows that to be said."""
    try:
        _attach(sock, numbers)
    except OSError as error:
        logger.debug("new connections still go to all workers: %s", error)


class Seats:
    """One for a proxy."""

    def __init__(
        self, groups: Iterable[Group], worker_count: int, *, is_known: bool = True
    ) -> None:
        """All get connections; not ``is_known``: another program has said who does."""
        self._groups = tuple(groups)
        self._all = frozenset(range(worker_count))
        self._served = self._all if is_known else frozenset()

    def give(self, able: Iterable[int]) -> None:
        """From now on only these workers get new connections; all, where none is able."""
        served = frozenset(able) or self._all
        if served == self._served:
            return
        self._served = served
        for group in self._groups:
            numbers = [at for at, owner in enumerate(group.owners) if owner in served]
            if served != self._all or not _detach(group.sock):
                seat_only(group.sock, numbers)


def _detach(sock: socket.socket) -> bool:
    """Whether the kernel chooses by itself again; also where it never did otherwise."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


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
