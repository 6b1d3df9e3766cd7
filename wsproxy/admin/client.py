"""
Asks a running proxy through its admin socket.

Driven by ``cli``. Blocks, but never for long. Must not trust what answers: sizes are limited, and what is not the
JSON that was expected is an error.
"""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import TypeVar

import msgspec

from wsproxy.admin.messages import (
    EXPLAIN_PATH,
    STATUS_PATH,
    ErrorAnswer,
    ExplainAnswer,
    ExplainQuestion,
    Status,
)
from wsproxy.admin.sockets import find_sockets
from wsproxy.errors import WsproxyError

# The process that answers may have to be started first, on a machine that is busy.
ANSWER_S = 15.0
# An explanation has some hundred bytes for each Route and each server; the largest files have thousands.
MOST_ANSWER_BYTES = 64 * 1024 * 1024

_AnswerT = TypeVar("_AnswerT")


class AskError(WsproxyError):
    """No proxy could be asked, or it refused the question; the text says why."""


class RefusedError(AskError):
    """A proxy answered, and refused; the text says why."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, answer_s: float) -> None:
        super().__init__("localhost", timeout=answer_s)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def ask_status(path: Path) -> Status:
    """
    Who answers at ``path``. # I/O.

    Raises:
        AskError: nobody does.
    """
    return ask(path, "GET", STATUS_PATH, Status)


def ask_explanation(path: Path, question: ExplainQuestion) -> ExplainAnswer:
    """
    The decision that the proxy at ``path`` would take now. # I/O.

    Raises:
        AskError: nobody answers there, or the request is none that it would take.
    """
    return ask(path, "POST", EXPLAIN_PATH, ExplainAnswer, question)


def find_proxy(digest: str = "") -> Path:
    """
    The socket of the one proxy that runs here; of several, the one whose configuration has this digest. # I/O.

    Raises:
        AskError: none runs, or it is not clear which is meant.
    """
    found: list[tuple[Path, Status]] = []
    failures: list[str] = []
    for path in find_sockets():
        try:
            found.append((path, ask_status(path)))
        except AskError as error:
            failures.append(str(error))
    if len(found) > 1:
        same = [each for each in found if each[1].config_digest == digest]
        if len(same) != 1:
            lines = (
                f"  --socket {path}  pid {status.pid}, {status.config}" for path, status in found
            )
            raise AskError("\n".join(["several proxies run here; allowed is one of", *lines]))
        found = same
    if not found:
        text = "no proxy of this user runs here; name its socket with --socket (admin.socket in wsproxy.toml)"
        raise AskError("\n".join([text, *failures]))
    return found[0][0]


def ask(
    path: Path,
    method: str,
    target: str,
    kind: type[_AnswerT],
    question: msgspec.Struct | None = None,
    *,
    answer_s: float = ANSWER_S,
) -> _AnswerT:
    """
    What the proxy at ``path`` answers. # I/O.

    Raises:
        RefusedError: it refuses the question.
        AskError: nobody answers there.
    """
    body = None if question is None else msgspec.json.encode(question)
    connection = _UnixConnection(path, answer_s)
    try:
        connection.request(method, target, body, {"Connection": "close"})
        answer = connection.getresponse()
        data = answer.read(MOST_ANSWER_BYTES + 1)
        if answer.status != 200:
            raise RefusedError(msgspec.json.decode(data, type=ErrorAnswer).error)
        return msgspec.json.decode(data, type=kind)
    except TimeoutError as error:
        raise AskError(f"{path}: no answer within {answer_s:g} s") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise AskError(f"{path}: no proxy answers there: {error.strerror}") from error
    except OSError as error:
        raise AskError(f"{path}: cannot be asked: {error.strerror or error}") from error
    except (http.client.HTTPException, msgspec.DecodeError) as error:
        raise AskError(f"{path}: what answers is not this version of wsproxy: {error}") from error
    finally:
        connection.close()
