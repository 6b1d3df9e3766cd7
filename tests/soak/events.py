"""
What happens to a proxy in a soak: each event ends with everything as it was before, as far as anybody can see.

A new kind of event is a coroutine in ``EVENTS``. Whatever takes a server out of service takes one of ``fragile``, and holds its lock.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.soak import upgrades
from tests.soak.bed import CLONES, SPARES, Bed, Server
from tests.soak.crowd import Word
from tests.support.process import WAIT_S

# Not so long that a server's ServerIOTimeout, 3 s, could end twice for one request.
MOST_STOPPED_S = 4.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What one event has to do with; ``spared``: processes that are not killed now."""

    bed: Bed
    server: Server  # in its lock
    spared: frozenset[str] = frozenset()

    def some_s(self, most: float) -> float:
        return self.bed.rng.uniform(0.1, most)


# --- the configuration ----------------------------------------------------------------------------------------------


def _change(bed: Bed) -> str:
    """Other weights, other servers, another Uri."""
    bed.weights = {name: bed.rng.randrange(1, 6) for name in CLONES}
    bed.spares = tuple(each for each in SPARES if bed.rng.random() < 0.5)
    bed.marker += 1
    return bed.xml(bed.marker)


async def reload(scene: Scene) -> None:
    """A file is saved; nobody says so."""
    bed = scene.bed
    async with bed.files:
        bed.write(_change(bed))
        await bed.is_used()


async def reload_slow_copy(scene: Scene) -> None:
    """It is written over piece by piece: half of it is no configuration."""
    bed = scene.bed
    async with bed.files:
        text = _change(bed)
        with (bed.folder / "plugin-cfg.xml").open("w") as file:
            for at in range(0, len(text), 700):
                file.write(text[at : at + 700])
                file.flush()
                await asyncio.sleep(0.02)
        await bed.is_used()


async def reload_fast_changes(scene: Scene) -> None:
    """A file that changes faster than it is read: in the end the last one holds."""
    bed = scene.bed
    async with bed.files:
        for _ in range(30):
            bed.write(_change(bed))
            await asyncio.sleep(scene.bed.rng.uniform(0, 0.05))
        await bed.is_used()


async def reload_three_ways_at_once(scene: Scene) -> None:
    """Saved, SIGHUP, and two commands, in the same moment."""
    bed = scene.bed
    async with bed.files:
        bed.write(_change(bed))
        with suppress(ProcessLookupError):  # another program is the proxy by now
            os.kill(bed.supervisor, signal.SIGHUP)
        entries = await asyncio.gather(*(bed.ask("POST", "/v1/reload") for _ in range(2)))
        assert {each["result"] for each in entries} <= {"in use", "unchanged"}, entries
        await bed.is_used()


async def reload_refused(scene: Scene) -> None:
    """What cannot be used changes nothing, and the next one that can is taken."""
    bed = scene.bed
    async with bed.files:
        bed.write(bed.xml(bed.marker).replace('Port="', 'Port="x', 1))
        entry = await bed.ask("POST", "/v1/reload")
        assert entry["result"] == "refused", entry
        await bed.is_used()
        await reload_inside(bed)


async def reload_inside(bed: Bed) -> None:
    """As ``reload``, for who holds the lock."""
    bed.write(_change(bed))
    await bed.is_used()


async def reload_and_kill_the_loader(scene: Scene) -> None:
    """It dies somewhere on the way; the file is taken over all the same, and nobody has to save it again."""
    if "wsproxy-loader" in scene.spared:
        return
    bed = scene.bed
    async with bed.files:
        bed.write(_change(bed))
        await asyncio.sleep(bed.rng.uniform(0.2, 0.5))
        await bed.kill("wsproxy-loader")
        await bed.is_used()


async def rollback(scene: Scene) -> None:
    """To the one before, and by the file again."""
    bed = scene.bed
    async with bed.upgrades, bed.files:  # another program has nothing to go back to
        await reload_inside(bed)
        await bed.ask("POST", "/v1/rollback")
        await reload_inside(bed)


# --- words of operators ---------------------------------------------------------------------------------------------


async def _hold(scene: Scene, verb: str, back: str) -> None:
    bed, name = scene.bed, scene.server.name
    await bed.ask("POST", f"/v1/{verb}", target=f"farm/{name}", reason="soak")
    bed.crowd.words[name] = Word(is_down=verb == "down")
    await asyncio.sleep(scene.some_s(2))
    del bed.crowd.words[name]
    await bed.ask("POST", f"/v1/{back}", target=f"farm/{name}")


async def drain(scene: Scene) -> None:
    await _hold(scene, "drain", "resume")


async def take_down(scene: Scene) -> None:
    await _hold(scene, "down", "up")


async def set_numbers(scene: Scene) -> None:
    bed, name = scene.bed, f"farm/{scene.server.name}"
    await bed.ask("POST", "/v1/set", target=name, weight=bed.rng.randrange(9), max_connections=2)
    await asyncio.sleep(scene.some_s(2))
    await bed.ask("POST", "/v1/set", target=name, weight="file", max_connections="file")


async def list_requests(scene: Scene) -> None:
    await scene.bed.ask("GET", "/v1/requests")
    await scene.bed.ask("GET", f"/v1/why?target=farm/{scene.server.name}")


# --- servers --------------------------------------------------------------------------------------------------------


async def kill_server(scene: Scene) -> None:
    """With the requests that it has; it comes back."""
    await scene.server.kill()
    await asyncio.sleep(scene.some_s(2))
    await scene.server.start()


async def stop_server(scene: Scene) -> None:
    """It accepts and says nothing."""
    scene.server.send(signal.SIGSTOP)
    await asyncio.sleep(scene.some_s(MOST_STOPPED_S))
    scene.server.send(signal.SIGCONT)


async def make_ill(scene: Scene) -> None:
    """Probes find it ill, requests are served all the same."""
    board = scene.server.board
    board.is_ill = True
    await asyncio.sleep(scene.some_s(3))
    board.is_ill = False


# --- processes of the proxy -----------------------------------------------------------------------------------------


def kill(name: str) -> Event:
    """Of that process."""

    async def event(scene: Scene) -> None:
        if name not in scene.spared:
            await scene.bed.kill(name)

    return event


def stop(name: str) -> Event:
    """Of that process, for a while."""

    async def event(scene: Scene) -> None:
        bed = scene.bed
        pid = bed.supervisor if name == "wsproxy" else bed.pid_of(name)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(scene.some_s(1.5))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return event


def upgrade(what: Callable[[Bed], Awaitable[None]]) -> Event:
    """Another program is the proxy then; where it is spared, it stays."""

    async def event(scene: Scene) -> None:
        async with scene.bed.upgrades:
            if "wsproxy" not in scene.spared:
                with scene.bed.crowd.replacing():
                    await what(scene.bed)

    return event


# --- logs -----------------------------------------------------------------------------------------------------------


async def rotate_logs(scene: Scene) -> None:
    async with scene.bed.upgrades:  # a signal to one program is none to another
        await _rotate_logs(scene.bed)


async def _rotate_logs(bed: Bed) -> None:
    for name in ("access.log", "http_plugin.log"):
        file = bed.folder / name
        if file.exists():
            file.rename(bed.folder / f"{name}.1")
    os.kill(bed.supervisor, signal.SIGUSR1)
    async with asyncio.timeout(WAIT_S):
        while not (bed.folder / "access.log").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def change_log_level(scene: Scene) -> None:
    await scene.bed.ask("POST", "/v1/loglevel", level="Trace")
    await asyncio.sleep(scene.some_s(0.5))
    await scene.bed.ask("POST", "/v1/loglevel", level="file")


Event = Callable[[Scene], Awaitable[None]]

# By name, with how often it happens for each of the others.
EVENTS: dict[str, tuple[Event, int]] = {
    "reload": (reload, 6),
    "reload: slow copy": (reload_slow_copy, 2),
    "reload: fast changes": (reload_fast_changes, 2),
    "reload: three ways at once": (reload_three_ways_at_once, 2),
    "reload: refused": (reload_refused, 2),
    "reload: loader killed": (reload_and_kill_the_loader, 2),
    "rollback": (rollback, 2),
    "drain": (drain, 4),
    "take down": (take_down, 3),
    "set numbers": (set_numbers, 3),
    "list requests": (list_requests, 2),
    "kill server": (kill_server, 4),
    "stop server": (stop_server, 3),
    "ill server": (make_ill, 3),
    "kill worker 0": (kill("wsproxy-0"), 3),
    "kill worker 1": (kill("wsproxy-1"), 2),
    "kill prober": (kill("wsproxy-prober"), 1),
    "kill admin": (kill("wsproxy-admin"), 1),
    "kill loader": (kill("wsproxy-loader"), 1),
    "kill log process": (kill("wsproxy-log"), 1),
    "stop worker 0": (stop("wsproxy-0"), 2),
    "stop worker 1": (stop("wsproxy-1"), 2),
    "stop prober": (stop("wsproxy-prober"), 1),
    "stop admin": (stop("wsproxy-admin"), 1),
    "stop loader": (stop("wsproxy-loader"), 1),
    "stop supervisor": (stop("wsproxy"), 1),
    "upgrade": (upgrade(upgrades.upgrade), 2),
    "upgrade: twice": (upgrade(upgrades.upgrade_twice), 1),
    "upgrade: new program killed": (upgrade(upgrades.kill_new), 1),
    "upgrade: old program killed as the new one begins": (upgrade(upgrades.kill_old_early), 1),
    "upgrade: old program killed as it retires": (upgrade(upgrades.kill_old_late), 1),
    "rotate logs": (rotate_logs, 1),
    "log level": (change_log_level, 1),
}
