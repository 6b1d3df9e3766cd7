"""
The raw request files of ``tests/corpus`` and the ways to feed them.

``EXPECTED.tsv`` beside them says for each file what must come of it; a file without a line or a line without a file is an
error. The files are bytes as a client would send them: no editor may touch their line ends (.gitattributes).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.oracles.errors import HeadError
from wsproxy._fast.http.chunked import read_chunks
from wsproxy._fast.http.head import has_head_end, read_request

CORPUS = Path(__file__).parents[1] / "corpus"
HEAD_BYTES = 65536


def expected_rows(kind: str) -> list[dict[str, str]]:
    with (CORPUS / kind / "EXPECTED.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def request_bytes(kind: str, name: str) -> bytes:
    return (CORPUS / kind / name).read_bytes()


@dataclass(frozen=True)
class Message:
    """A whole request."""

    head: dict[str, Any]
    payload: bytes
    size: int  # of head and body


def feedings(data: bytes, seed: str) -> Iterator[tuple[str, list[bytes]]]:
    """The same bytes whole, by line, byte by byte and in random pieces."""
    yield "whole", [data]
    yield "by line", data.splitlines(keepends=True)
    # Byte by byte, but large messages in the middle by the kilobyte: each byte there looks like the one before.
    step = 1 if len(data) < 2000 else 1021
    middle = [data[at : at + step] for at in range(300, len(data) - 300, step)]
    ends = len(data) < 600
    singles = data if ends else data[:300]
    tail = b"" if ends else data[300 + sum(map(len, middle)) :]
    yield (
        "byte by byte",
        [bytes([byte]) for byte in singles]
        + ([] if ends else middle)
        + [bytes([byte]) for byte in tail],
    )
    rng = random.Random(seed)
    for turn in range(5):
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 12)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        yield f"random pieces {turn}", pieces


def find_head(data: bytes, resume: int) -> dict[str, Any] | int:
    """One look at what has arrived, as a connection takes it: first parse, later only look for the end."""
    if resume == 0:
        return read_request(data)
    found = has_head_end(data, resume)
    if found == 0:
        return -HeadError.HEAD_TOO_LARGE if len(data) > HEAD_BYTES else 0
    return read_request(data) if found > 0 else found


def read_message(pieces: list[bytes]) -> Message | HeadError | None:
    """The request that these pieces bring, None while it is not whole, or why it is refused."""
    data = b""
    resume = 0
    for number, piece in enumerate(pieces):
        data += piece
        found = find_head(data, resume)
        if isinstance(found, dict):
            return read_body(found, [data[found["size"] :], *pieces[number + 1 :]])
        if found < 0:
            return HeadError(-found)
        resume = len(data)
    return None


def read_body(head: dict[str, Any], pieces: list[bytes]) -> Message | HeadError | None:
    """The message of this head with the body that these pieces bring."""
    size: int = head["size"]
    if not head["chunked"]:
        length = max(head["content_length"], 0)
        payload = b"".join(pieces)[:length]
        return Message(head, payload, size + length) if len(payload) == length else None
    try:
        payload, consumed, done, _ = read_chunks(pieces)
    except ValueError as error:
        return HeadError(error.args[0])
    return Message(head, payload, size + consumed) if done else None
