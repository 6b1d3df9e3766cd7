"""
Says things on standard error as the proxy does, from several processes; run as a process of its own by the log pipe's tests.

    python -m tests.support.said PROCESSES LINES BYTES [PIPE_BYTES]
"""

from __future__ import annotations

import logging
import os
import sys
import time

import wsproxy.process.log_pipe as log_pipe_module
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import set_up_logging

logger = logging.getLogger("wsproxy.said")


def main() -> int:
    processes, lines, size, *pipe_bytes = map(int, sys.argv[1:])
    log_pipe_module.PIPE_BYTES = pipe_bytes[0] if pipe_bytes else log_pipe_module.PIPE_BYTES
    with LogPipe() as log_pipe:
        log_pipe.say("first")
        set_up_logging("info")
        children = []
        for _ in range(processes):
            pid = os.fork()
            if pid == 0:
                for number in range(lines):
                    logger.info("%d %s", number, "x" * size)
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        logger.info("ended after %g", time.monotonic())
    return 7


if __name__ == "__main__":
    sys.exit(main())
