"""
How members take a version over: all at once and watched, or one after the other.

Driven by ``cli.publish``, which lives as long as it takes. What it has allowed so far stands in the head: if it is killed, those that have the version
keep it, the others keep theirs, and nothing goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from wsproxy.config.published import Version
from wsproxy.errors import WsproxyError
from wsproxy.ha.master.library import Held, Library, OvertakenError
from wsproxy.ha.master.words import Applied
from wsproxy.ha.store.base import StoreAwayError

LOOK_S = 0.3


class HaltedError(WsproxyError):
    """A member has not taken it over: the rest keeps what it has."""


def is_in_use(applied: Applied | None, version: Version) -> bool:
    """Whether that member goes by it, and nothing takes it back any more."""
    return (
        applied is not None
        and applied.id == version.id
        and applied.result != "failed"
        and not applied.is_guarded
    )


def is_rejected(applied: Applied | None, version: Version) -> bool:
    """Whether that member has tried it and goes by another."""
    return applied is not None and applied.tried_id == version.id and applied.id != version.id


async def watch_all(
    library: Library, version: Version, wait_s: float
) -> tuple[Mapping[str, Applied], bool]:
    """
    What became of it at each member, and whether all have tried it, within that time.

    Raises:
        OvertakenError: another version was published meanwhile: nobody will say anything of this one any more.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    applied: Mapping[str, Applied] = {}
    while True:
        try:
            applied = await library.applied()
            if all(each.is_done_with(version) for each in applied.values()):
                return applied, True
            head = (await library.head()).head
        except StoreAwayError:
            pass  # for a moment, it may be; that nobody is there was not said
        else:
            if head is not None and head.version.id != version.id:
                raise OvertakenError(head)
        if loop.time() > end:
            return applied, False
        await asyncio.sleep(LOOK_S)


async def one_at_a_time(
    library: Library, held: Held, order: list[str], wait_s: float, tell: Callable[[str], None]
) -> Held:
    """
    Each member of ``order`` takes it when the one before it goes by it and its guard's time is over; then all may.

    Raises:
        HaltedError: one has refused it, its guard has undone it, or it says nothing for ``wait_s``.
        OvertakenError: another version was published meanwhile.
    """
    assert held.head is not None
    version, taken = held.head.version, []
    for name in order:
        taken.append(name)
        held = await library.allow(held, tuple(taken))
        applied = await _until_used(library, version, name, wait_s)
        tell(f"{name}: {applied.in_words()}")
    return await library.allow(held, None)


async def _until_used(library: Library, version: Version, name: str, wait_s: float) -> Applied:
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    found: Applied | None = None
    while True:
        with contextlib.suppress(StoreAwayError):  # for a moment, it may be
            found = (await library.applied()).get(name)
        if found is not None and is_in_use(found, version):
            return found
        if found is not None and is_rejected(found, version):
            raise HaltedError(f"{name}: {found.in_words()}")
        if found is not None and found.is_guarded:
            end = max(end, loop.time() + wait_s)  # its guard's time is its own
        if loop.time() > end:
            says = "it is no member any more" if found is None else found.in_words()
            raise HaltedError(f"{name} does not go by version {version.number} after {wait_s:g} s: {says}")  # fmt: skip
        await asyncio.sleep(LOOK_S)
