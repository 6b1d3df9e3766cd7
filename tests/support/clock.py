"""The wall clock of one proxy, moved by libfaketime; no other clock is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

INSTALL_S = 100.0


def faketime() -> Path:
    """The library, installed where this user may; else the test is skipped."""
    for attempt in range(2):
        for folder in Path("/usr/lib").glob("*/faketime"):
            if (found := folder / "libfaketimeMT.so.1").exists():
                return found
        if attempt or os.geteuid() or not shutil.which("apt-get"):
            break
        command = ["apt-get", "install", "-y", "-q", "faketime"]
        subprocess.run(command, check=False, timeout=INSTALL_S, capture_output=True)
    pytest.skip("no libfaketime on this machine (Debian: apt-get install faketime)")


@dataclass(slots=True)
class Clock:
    """Made before the proxy, which is started with ``env``."""

    file: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """To so far from the real time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)
