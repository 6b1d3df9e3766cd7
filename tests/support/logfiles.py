"""Log files that a running proxy writes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.support.process import WAIT_S


def lines_of(path: Path) -> list[str]:
    """Those that are there; none where there is no file yet."""
    return path.read_text().splitlines() if path.exists() else []


async def lines_with(path: Path, pattern: str = "", count: int = 1) -> list[str]:
    """The lines of the file once so many of them match; they are written a moment later."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while True:
        lines = lines_of(path)
        if sum(bool(re.search(pattern, line)) for line in lines) >= count:
            return lines
        assert asyncio.get_running_loop().time() < deadline, "\n".join(lines)
        await asyncio.sleep(0.02)  # a file says nothing when it grows
