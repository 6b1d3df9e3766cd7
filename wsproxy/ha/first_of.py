"""
Works of which none is to go on without the others.

No task group: one of Python 3.11 may forget that it is cancelled when one of its tasks fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

log = logging.getLogger("wsproxy.ha")


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """
    Runs all; when one ends the others are cancelled, and awaited, however often this is cancelled itself; its error is raised.

    Raises:
        RuntimeError: it was cancelled, and not by this.
    """
    tasks = [asyncio.ensure_future(each) for each in works]
    done: set[asyncio.Future[Any]] = set()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks, done)
    for each in done:
        if each.cancelled():
            raise RuntimeError("a work was cancelled by somebody else")
        each.result()


async def _end(tasks: Sequence[asyncio.Future[Any]], done: set[asyncio.Future[Any]]) -> None:
    for each in tasks:
        each.cancel()
    cancelled = None
    while pending := [each for each in tasks if not each.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for each in tasks:
        if each not in done and not each.cancelled() and (failed := each.exception()) is not None:
            log.error("ended with an error when it was to end", exc_info=failed)
    if cancelled is not None:
        raise cancelled
