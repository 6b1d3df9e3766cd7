"""
Prints how long a small static file takes while many clients fetch a large one slowly: ``python -m bench.micro.slow_files [CLIENTS]``.

Run by hand, on a machine that does nothing else. Must not judge. All clients ask at once, on 127.0.0.1 with a receive buffer of 4 KiB, and take 2 KiB
a second each, for 15 s; small files are asked for one after the other meanwhile. The worker's CPU is what all of it took.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLIENTS, LAST_S, PORT = 2000, 15.0, 18999
XML = """<Config><ServerCluster Name="c"><Server Name="s"><Transport Hostname="127.0.0.1" Port="1"/></Server></ServerCluster>
<UriGroup Name="u"><Uri Name="/app/*"/></UriGroup><Route ServerCluster="c" UriGroup="u"/></Config>"""
TOML = """workers = 1
limits.client_connections = 100000
admin.socket = "off"
log.level = "warning"
edge = [{ paths = ["/static/*"], files = { root = "www", strip = "/static" } }]
"""


def crowd(clients: int) -> None:
    """Asks for the large file with all clients, and takes little of it."""
    waiting = []
    for _ in range(clients):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(("127.0.0.1", PORT))
        waiting.append(client)
    asked, until = list(waiting), time.monotonic() + LAST_S
    while time.monotonic() < until:
        still = []
        for client in asked:
            try:
                client.send(b"GET /static/big HTTP/1.1\r\nHost: h\r\n\r\n")
            except BlockingIOError:
                still.append(client)
        asked = still
        for client in waiting:
            with contextlib.suppress(OSError):
                client.recv(2048)
        time.sleep(1)


def ask() -> float:
    """Seconds until the small file was here."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT), 60) as client:
        client.sendall(b"GET /static/small HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        while client.recv(4096):
            pass
    return time.monotonic() - began


def cpu_of_children(pid: int) -> float:
    """CPU seconds of the workers."""
    ticks = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        ticks += sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]))  # fmt: skip
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """See above."""
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "www").mkdir()
        (folder / "www" / "big").write_bytes(os.urandom(8 << 20))
        (folder / "www" / "small").write_text("small")
        (folder / "p.xml").write_text(XML)
        (folder / "w.toml").write_text(TOML)
        words = ["run", "p.xml", "--settings", "w.toml", "--listen", f"127.0.0.1:{PORT}"]
        proxy = subprocess.Popen([sys.executable, "-m", "wsproxy", *words], cwd=folder)
        try:
            while True:
                with contextlib.suppress(OSError):
                    ask()
                    break
                time.sleep(0.1)
            slow = os.fork()
            if not slow:
                try:
                    crowd(clients)
                finally:
                    os._exit(0)
            until, times = time.monotonic() + LAST_S - 1, []
            while time.monotonic() < until:
                times.append(ask())
                time.sleep(0.1)
            print(f"{clients} slow clients: a small file took {statistics.median(times) * 1000:.1f} ms (median), {max(times):.2f} s at most; {cpu_of_children(proxy.pid):.2f} s of CPU")  # fmt: skip
            os.waitpid(slow, 0)
        finally:
            proxy.terminate()
            proxy.wait()


if __name__ == "__main__":
    main()
