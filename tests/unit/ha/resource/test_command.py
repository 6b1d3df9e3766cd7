"""What a program of a resource finds around it, and what is known of it."""

from __future__ import annotations

import os
import select
import signal
import sys

import pytest

from wsproxy.ha.resource.command import Command, begin, environment_of


def run(*words: str, **environment: str) -> Command:
    command = begin("status", words, environment_of("cell/group/a/r", "a", "r", 17) | environment)
    while command.output >= 0:
        select.select([command.output], [], [], 30)
        command.read()
    command.note_end(os.waitpid(command.pid, 0)[1])
    return command


def test_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of ours: no secret, no path."""
    monkeypatch.setenv("SECRET", "s3cret")
    lines = sorted(run("/usr/bin/env").said.decode().splitlines())
    assert lines == [
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "WSPROXY_HA_MEMBER=a",
        "WSPROXY_HA_NAME=r",
        "WSPROXY_HA_RESOURCE=cell/group/a/r",
        "WSPROXY_HA_TOKEN=17",
    ]


def test_no_shell() -> None:
    """Words are words."""
    assert run("/bin/echo", "$HOME; *").said == b"$HOME; *\n"


ASK = "import os, sys; print(os.getcwd(), os.getsid(0) == os.getpid(), sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd'))[:4], end='')"


def test_a_session_of_its_own_and_nothing_open() -> None:
    """The root folder, no input, no descriptor but its three (the fourth is that of the listing), no signal that is ignored."""
    with open("/dev/null"):
        said = run(sys.executable, "-I", "-c", ASK).said.decode()
    assert said == "/ True True ['0', '1', '2', '3']"
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # as in a shell's background
    try:
        status = run("/bin/cat", "/proc/self/status").said.decode()
    finally:
        signal.signal(signal.SIGQUIT, before)
    (ignored,) = [line for line in status.splitlines() if line.startswith("SigIgn")]  # fmt: skip
    # Those above 31 are the C library's own, which nobody can change.
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF & ~(1 << (signal.SIGXFSZ - 1)) == 0


def test_how_it_ended() -> None:
    """In words, with its last line; what is no text is no escape code."""
    assert run("/bin/sh", "-c", "echo one; echo 'two\x1b[31m'; exit 3").words == "ended with exit code 3 (two\\x1b[31m)"  # fmt: skip
    assert run("/bin/sh", "-c", "kill -9 $$").words == "was killed by SIGKILL"


def test_what_it_says_is_bounded() -> None:
    """The last part of it."""
    command = run("/bin/sh", "-c", "yes | head -c 300000; echo end")
    assert len(command.said) == 2000
    assert command.said.endswith(b"end\n")


def test_no_such_program() -> None:
    """Is an error, and leaves no descriptor."""
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        begin("start", ["/no/such/program"], {})
    assert os.listdir("/proc/self/fd") == before
