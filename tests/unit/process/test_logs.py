"""One line an event."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

from wsproxy.process.logs import OneLineFormatter

SCRIPT = """
import logging
from wsproxy.process.logs import set_up_logging
set_up_logging("warning")
logging.info("not shown")
logging.warning("path %s", "/a\\r\\nERROR forged")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("failed")
"""


def test_each_event_is_one_line_whatever_it_contains() -> None:
    """Line breaks from a client cannot forge an event; a traceback stays with its event; the level is kept."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], stderr=subprocess.PIPE, text=True, check=True
    )
    first, second = done.stderr.splitlines()
    assert first.endswith(r"wsproxy: path /a\r\nERROR forged")
    assert " WARNING [" in first
    assert r"wsproxy: failed\nTraceback" in second
    assert second.endswith("ZeroDivisionError: division by zero")


HOOKS = """
import sys, threading, warnings, gc
from wsproxy.process.logs import set_up_logging
set_up_logging("warning")
class Odd:
    def __del__(self): raise ValueError("odd")
Odd()
def fail(): raise KeyError("thread")
thread = threading.Thread(target=fail, name="t1"); thread.start(); thread.join()
warnings.warn("old", DeprecationWarning)
sys.unraisablehook(type("Args", (), dict(exc_type=ValueError, exc_value=None, exc_traceback=None, err_msg=None, object=b"secret")))
raise RuntimeError("the end")
"""


def test_nothing_is_printed_past_the_log() -> None:
    """What Python would print itself is one message each; bytes that Python names there are a client's, and stay out."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", HOOKS],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    odd, thread, old, nameless, end = done.stderr.splitlines()
    assert " ERROR [" in odd
    assert r"wsproxy: internal error: exception ignored in <function Odd.__del__" in odd
    assert odd.endswith("ValueError: odd")
    assert r"wsproxy: internal error: thread t1 ended\nTraceback" in thread
    assert " WARNING [" in old
    assert "DeprecationWarning: old" in old
    assert nameless.endswith("internal error: exception ignored in an object of bytes")
    assert r"wsproxy: internal error: the process ends\nTraceback" in end
    assert end.endswith("RuntimeError: the end")


def fail() -> None:
    try:
        [1, 2][1 // 0]
    except ZeroDivisionError as error:
        raise KeyError("second") from error


def test_traceback_is_pythons_own_without_the_marks() -> None:
    """For those each line of source is parsed, which has ended workers that were short of memory; causes have none either."""
    with pytest.raises(KeyError) as raised:
        fail()
    found = (raised.type, raised.value, raised.tb)
    usual = "".join(traceback.format_exception(*found)).rstrip("\n").splitlines()
    assert any(set(line) <= set(" ^~") for line in usual)
    told = OneLineFormatter().formatException(found)
    assert told.splitlines() == [line for line in usual if not line or set(line) - set(" ^~")]
