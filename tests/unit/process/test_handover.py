"""What a program is handed on, and which rows of the shared state are nobody's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wsproxy.errors import StartError
from wsproxy.process.handover import VARIABLE, Inheritance, free_rows


@pytest.mark.parametrize(
    ("count", "taken", "first"),
    [
        (2, [], 0),
        (2, [range(2)], 2),
        (2, [range(2, 4)], 0),
        (3, [range(2, 4)], 4),
        (2, [range(2), range(2, 4)], 4),
        (1, [range(2), range(3, 5)], 2),
        (128, [range(0)], 0),
        (64, [range(64)], 64),
    ],
)
def test_first_rows_that_nobody_has(count: int, taken: list[range], first: int) -> None:
    assert free_rows(count, taken) == first


def test_too_many_programs_are_refused() -> None:
    with pytest.raises(
        StartError,
        match="found 100 workers of programs that are being replaced; allowed, with 30 new ones",
    ):
        free_rows(30, [range(100)])


@pytest.mark.parametrize("text", [b"", b"no JSON", b"{}"])
def test_what_is_no_inheritance_is_refused(text: bytes) -> None:
    fd = os.memfd_create("test")
    os.write(fd, text)
    os.lseek(fd, 0, os.SEEK_SET)
    environ = {VARIABLE: str(fd)}
    with pytest.raises(StartError, match=f"{VARIABLE}: found {fd}, which is no inheritance"):
        Inheritance.from_environment(environ, os.getpid())
    assert environ == {}


def test_who_is_started_by_hand_has_none() -> None:
    made = Inheritance.from_environment({}, os.getpid())
    assert (made.estate, made.control, list(made.sockets), made.take_state()) == (
        None,
        None,
        [],
        None,
    )


def handed(**more: object) -> dict[str, object]:
    """An inheritance, as a predecessor would write it, but for ``more``."""
    kin = [{"first": 0, "count": 2, "pid": 1, "alive": 101}]
    empty: dict[str, object] = {"pid": 1, "who": "", "control": 100, "state": -1}
    return {**empty, "bells": [], "sockets": [], "kin": kin, **more}


def socket_at(fd: int) -> dict[str, object]:
    return {"fd": fd, "place": 0, "host": "", "port": 1, "wanted_port": 1, "can_grow": True}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, "Bad file descriptor"),
        ({"control": 2}, "one of the standard streams"),
        ({"sockets": [socket_at(100)]}, "a descriptor twice"),
        ({"kin": []}, "does not say who is replaced"),
        ({"kin": [{"first": 0, "count": 10**9, "pid": 1, "alive": 101}]}, "found 1000000000 rows"),
        ({"kin": [{"first": -1, "count": 1, "pid": 1, "alive": 101}]}, "found 1 rows from -1 on"),
        ({"bells": [[4096, 102]]}, "found the bell of row 4096"),
    ],
)
def test_inheritance_that_cannot_be_is_refused(more: dict[str, object], why: str) -> None:
    """Whoever wrote it: a start that is refused says why, and closes nothing that is not its own."""
    fd = os.memfd_create("test")
    os.pwrite(fd, json.dumps(handed(**more)).encode(), 0)
    with pytest.raises(
        StartError, match=f"found {fd}, which is no inheritance .*{why}.*allowed is"
    ):
        Inheritance.from_environment({VARIABLE: str(fd)}, os.getpid())


def test_descriptor_that_is_no_socket_is_refused() -> None:
    fds = [os.memfd_create("test") for _ in range(3)]
    kin = [{"first": 0, "count": 2, "pid": 1, "alive": fds[2]}]
    os.pwrite(fds[0], json.dumps(handed(control=fds[1], kin=kin)).encode(), 0)
    try:
        with pytest.raises(StartError, match="Socket operation on non-socket"):
            Inheritance.from_environment({VARIABLE: str(fds[0])}, os.getpid())
    finally:
        for fd in fds[1:]:
            os.close(fd)


@pytest.mark.parametrize(
    "given", ["0", "1", "2", "-1", "4095", "9" * 30, "\N{DEVANAGARI DIGIT ONE}"]
)
def test_variable_of_somebody_else_is_refused(given: str) -> None:
    """Kept by a shell, or copied from another process: standard streams are not read, nor closed."""
    with pytest.raises(StartError, match="which is no inheritance"):
        Inheritance.from_environment({VARIABLE: given}, os.getpid())
    for fd in range(3):
        os.fstat(fd)


def test_file_with_a_name_or_pipe_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        ends = os.pipe()
        try:
            for fd in (file.fileno(), *ends):
                with pytest.raises(StartError, match="no file without a name is open there"):
                    Inheritance.from_environment({VARIABLE: str(fd)}, os.getpid())
                os.fstat(fd)  # it is open
        finally:
            for fd in ends:
                os.close(fd)
