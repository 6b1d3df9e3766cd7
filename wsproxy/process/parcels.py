"""
Configurations that were compiled after the start, on their way from the loader to every process that goes by one.

Driven by ``process.supervisor``, which never looks into them: it keeps the last few (descriptors, whose memory all share), gives
the newest to each worker and to the admin process, and hands all to whoever is forked. What is in one is ``dataplane.parcel``'s
part. A process that does not read is not waited for: it gets the newest when it reads again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import dataclass, field

from wsproxy.dataplane.post import (
    AGAIN_S,
    KEPT,
    READ_AGAIN,
    SEND_AGAIN,
    Retire,
    pair,
    receive_parcel,
    send_parcel,
    send_retire,
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Box:
    """A child's: ``ours`` to send, ``theirs`` for it to receive."""

    ours: socket.socket
    theirs: socket.socket
    behind_since: float | None = None  # when it could not take one; CLOCK_MONOTONIC
    lacks_room: bool = False  # it had no descriptor for it
    word: Retire | None = None  # that it is still to be told


@dataclass(slots=True)
class Parcels:
    """The last ones and who gets them; and the ends at which supervisor, loader and admin process hear of each other."""

    loader: socket.socket  # the supervisor's end, and the loader's
    theirs: socket.socket
    asks: socket.socket  # the admin process's end, and the loader's: they outlive both processes
    answers: socket.socket
    kept: list[tuple[int, int]] = field(
        default_factory=list
    )  # generation and descriptor, oldest first
    _boxes: dict[str, _Box] = field(default_factory=dict)

    @classmethod
    def open(cls) -> Parcels:
        """None has come yet."""
        return cls(*pair(), *pair())

    @property
    def newest(self) -> tuple[int, int] | None:
        """What a child that is forked now goes by; None: the configuration of the start."""
        return self.kept[-1] if self.kept else None

    @property
    def newest_fd(self) -> int:
        """Its descriptor; -1: there is none."""
        return -1 if self.newest is None else self.newest[1]

    def box_for(self, name: str) -> socket.socket:
        """The end at which a child that is about to be forked will hear of parcels that come later."""
        self.forget(name)
        box = self._boxes[name] = _Box(*pair())
        return box.theirs

    def started(self, name: str) -> None:
        """The child has its end."""
        self._boxes[name].theirs.close()

    def forget(self, name: str) -> None:
        """The child has ended."""
        box = self._boxes.pop(name, None)
        if box is not None:
            box.ours.close()
            box.theirs.close()

    def leave(self, *mine: socket.socket) -> None:
        """In a child: closes what is not its own."""
        ends = [self.loader, self.theirs, self.asks, self.answers]
        ends += [end for box in self._boxes.values() for end in (box.ours, box.theirs)]
        for end in ends:
            if end not in mine:
                end.close()

    def take(self) -> None:
        """Something came from the loader: it is kept, and every child gets it."""
        parcel = receive_parcel(self.loader)
        if parcel is None:
            return
        self.kept.append(parcel)
        while len(self.kept) > KEPT:
            os.close(self.kept.pop(0)[1])
        for name, box in self._boxes.items():
            self._send(name, box)

    def send_late(self, now: float) -> None:
        """To those that did not read before, or had no room; some times a second."""
        for name, box in self._boxes.items():
            if box.word is not None:
                self.say(name, box.word)
            with contextlib.suppress(OSError):  # nothing was said, or it is about to be reaped
                if box.ours.recv(len(SEND_AGAIN)) == SEND_AGAIN:
                    box.behind_since, box.lacks_room = now, True
            if box.behind_since is None or (box.lacks_room and now < box.behind_since + AGAIN_S):
                continue
            self._send(name, box)

    def say(self, name: str, word: Retire) -> None:
        """To a child that is replaced; nothing, where it does not run."""
        box = self._boxes.get(name)
        if box is None:
            return
        box.word = None
        try:
            send_retire(box.ours, word)
        except BlockingIOError:
            box.word = word
        except OSError:  # it is about to be reaped
            logger.debug("%s has gone before it was replaced", name)

    def read_again(self) -> None:
        """The loader is to read the files again."""
        with contextlib.suppress(OSError):  # it has not read many of these yet, and will
            self.loader.send(READ_AGAIN)

    def close(self) -> None:
        """At the end."""
        for name in list(self._boxes):
            self.forget(name)
        for end in (self.loader, self.theirs, self.asks, self.answers):
            end.close()
        for _, fd in self.kept:
            os.close(fd)
        self.kept.clear()

    def _send(self, name: str, box: _Box) -> None:
        assert self.newest is not None
        box.behind_since, box.lacks_room = None, False
        try:
            send_parcel(box.ours, *self.newest)
        except BlockingIOError:
            box.behind_since = 0.0
        except OSError:  # it is about to be reaped
            logger.debug("%s has gone before its new configuration came", name)
