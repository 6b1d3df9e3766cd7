"""
Starts a command as systemd's socket activation does (sd_listen_fds(3)): sockets from descriptor 3 on, and what says so.

    python -m tests.support.activated ADDRESS:PORT[=NAME],... COMMAND...

``datagram`` for a name: it is a datagram socket, which no proxy can use.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys

from wsproxy.process.given import FIRST_FD


def main() -> None:
    wanted, *command = sys.argv[1:]
    sockets, names = [], []
    for each in wanted.split(","):
        address, _, name = each.partition("=")
        host, _, port = address.rpartition(":")
        kind = socket.SOCK_DGRAM if name == "datagram" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        if kind == socket.SOCK_STREAM:
            sock.listen(4096)
        # Out of the way of the places where they are to be.
        sockets.append(fcntl.fcntl(sock.detach(), fcntl.F_DUPFD, 100))
        names.append(name or "wsproxy.socket")
    for at, fd in enumerate(sockets):
        os.dup2(fd, FIRST_FD + at, inheritable=True)
        os.close(fd)
    environment = {
        **os.environ,
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(sockets)),
        "LISTEN_FDNAMES": ":".join(names),
    }
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    main()
