"""``wsproxy demo`` as a person runs it, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What the last line of the guide has, and no line before it.
GUIDE_END = r" simulate \S+ .*--down"


@contextmanager
def started_demo(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``wsproxy demo`` on a free port with its files under ``directory``; its children end with it."""
    command = [sys.executable, "-m", "wsproxy", "demo", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def guided_demo(directory: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """A demo of two workers whose servers stay dead: its process, its URL, and the lines of its guide."""
    with started_demo(directory, "--workers", "2", "--return-after", "600") as process:
        said: list[str] = []
        url = read_line(process, r"^wsproxy is at (http://\S+)/ in front", said)[1]
        read_line(process, GUIDE_END, said)
        yield process, url, said


def read_line(process: subprocess.Popen[str], pattern: str, seen: list[str]) -> re.Match[str]:
    """The next line of its output that matches; fails with what it said when it ends without."""
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"{pattern!r} did not come; it said:\n{''.join(seen)}")
