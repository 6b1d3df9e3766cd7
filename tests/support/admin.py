"""Questions to the admin socket, as bytes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.process import WAIT_S


async def talk(path: Path, data: bytes) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to these bytes, sent as they are."""
    head, body = await talk_raw(path, data)
    assert b"application/json" in head
    return int(head.split()[1]), json.loads(body)


async def talk_raw(path: Path, data: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to these bytes, after which the connection ends."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


async def ask_admin(path: Path, method: str, url: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to this question; without ``body`` it has none."""
    data = json.dumps(body).encode() if body else b""
    head = f"{method} {url} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    return await talk(path, head.encode() + data)
