"""
Prints the instructions of a small request with traces off, on and not sampled, and sampled.

Run by hand, with valgrind: ``python -m bench.micro.traced``. Must not judge. Instructions that callgrind counts between a request's head and its
end, on warm connections to both sides; with one run of fewer requests taken off, so that what only the first ones do is not in it.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

FEW, MANY = 50, 150
SERVE = """
import asyncio, os, sys
from tests.support.bed import Bed, config_of, server
from wsproxy.config.settings import Settings
async def main(port, mode):
    settings = Settings()
    if mode != "off":
        from wsproxy._fast.tell.trace import Tracer
        from wsproxy.config.settings_told import TraceSettings
        from wsproxy.dataplane.tracing import Words
        settings = Settings(trace=TraceSettings(endpoint="http://h:1", sample=float(mode == "sampled")))
    async with Bed(config_of(server("s", port)), settings) as bed:
        if mode != "off":
            bed.engine.trace(Tracer(Words(), seed=os.urandom(32), most_bytes=1 << 30))
        print(bed.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""
COUNTED = ("*Intake_start", "*Course_finish")
REQUEST = b"GET /app/x HTTP/1.1\r\nHost: h\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def _answer_all(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while connection.recv(65536):
                connection.sendall(ANSWER)


def count(mode: str, requests: int) -> int:
    """Instructions of so many requests."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        threading.Thread(target=_answer_all, args=(listener,), daemon=True).start()
        out = Path(folder, "out")
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += [f"--toggle-collect={each}" for each in COUNTED]
        port = listener.getsockname()[1]
        with subprocess.Popen(
            [*command, sys.executable, "-B", "-c", SERVE, str(port), mode],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        ) as proxy:  # fmt: skip
            assert proxy.stdin is not None
            assert proxy.stdout is not None
            with socket.create_connection(("127.0.0.1", int(proxy.stdout.readline()))) as client:
                for _ in range(requests):
                    client.sendall(REQUEST)
                    assert client.recv(65536).startswith(b"HTTP/1.1 200")
            proxy.stdin.close()
            proxy.wait(60)
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])


def main() -> None:
    """Prints a line for each mode; those that are named, else all."""
    for mode in sys.argv[1:] or ("off", "unsampled", "sampled"):
        each = (count(mode, MANY) - count(mode, FEW)) / (MANY - FEW)
        print(f"{mode:<12}{each:>10.1f} instructions a request")


if __name__ == "__main__":
    main()
