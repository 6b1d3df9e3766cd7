"""One line an event."""

from __future__ import annotations

import subprocess
import sys

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
