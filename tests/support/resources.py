"""Resources for tests: settings of ``resource_program``, and what it wrote down."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.support.etcd import free_ports
from wsproxy.config.settings_groups import ResourceSettings

PROGRAM = str(Path(__file__).with_name("resource_program.py"))


@dataclass
class Shared:
    """What all members of a test share: one disk, one port."""

    folder: Path
    port: int
    name: str = "batch"

    def settings(self, *words: str, has_stop: bool = True, **more: object) -> ResourceSettings:
        """``words``: daemon, take, status, ports."""

        def command(action: str, *rest: str) -> tuple[str, ...]:
            return sys.executable, "-I", "-S", PROGRAM, action, str(self.folder), *rest

        port = str(self.port)
        found: dict[str, object] = {
            "name": self.name,
            "start": command("start", port, *(["daemon"] if "daemon" in words else [])),
            "lock_files": (str(self.folder / "lock"),),
            "is_alive_s": 0.2,
            "start_s": 20.0,
            "stop_s": 20.0,
            "fence_s": 0.5,
        }
        if has_stop:
            found["stop"] = command("stop")
        if "take" in words:
            found["take"], found["release"] = command("take"), command("release")
        if "status" in words:
            found["status"] = command("status", port)
        if "ports" in words:
            found["ports"] = (f"127.0.0.1:{port}",)
        return ResourceSettings(**{**found, **more})  # type: ignore[arg-type]

    def mode(self, member: str, *words: str) -> None:
        (self.folder / f"{member}.mode").write_text(" ".join(words))

    def journal(self) -> list[tuple[float, str, str]]:
        try:
            text = (self.folder / "journal").read_text()
        except FileNotFoundError:
            return []
        lines = (line.split() for line in text.splitlines())
        return [(float(at), what, member) for at, what, member, _ in lines]

    def said(self) -> list[str]:
        return [f"{what} {member}" for _, what, member in self.journal()]

    def pid(self, member: str) -> int:
        return int((self.folder / f"{member}.pid").read_text())

    def never_two(self) -> None:
        """
        The lock, the port and the folder have said so themselves.

        A `take` that was refused while nothing of the other member ran is what it is for, where a `release` is late; but on a machine that has time none is.
        """
        bad = ("CLASH",) if is_busy() else ("CLASH", "REFUSED")
        assert not [line for line in self.said() if line.startswith(bad)], self.journal()


def is_busy() -> bool:
    """Whether processes had to wait for a processor, of the last minute more than a fifth."""
    try:
        line = Path("/proc/pressure/cpu").read_text().split("\n")[0]
    except OSError:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    return max(float(word.split("=")[1]) for word in line.split()[1:3]) > 20.0


def shared(folder: Path) -> Shared:
    return Shared(folder, free_ports(1)[0])


def lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def toml_of(settings: ResourceSettings) -> str:
    """As a table of wsproxy.toml."""
    lines = ["[[ha.resource]]"]
    for name, value in msgspec.to_builtins(settings).items():
        default = getattr(ResourceSettings(), name)
        if value in (None, default) or (isinstance(value, list) and not value):
            continue
        if isinstance(value, dict):
            text = "{" + ", ".join(f'{key} = "{each}"' for key, each in value.items()) + "}"
        else:
            text = msgspec.json.encode(value).decode()
        lines.append(f"{name} = {text}")
    return "\n".join(lines) + "\n"


def own_pids() -> set[int]:
    """Children of this process."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid():
                found.add(int(name))
    return found
