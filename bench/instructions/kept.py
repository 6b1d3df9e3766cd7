"""
Counts that were kept, and what has grown since.

Counts of another compiler, Python or Cython are no measure: instructions are the compiler's. What they were made with stands
beside them. Pure but for ``facts``, which asks the programs.
"""

from __future__ import annotations

import platform
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import msgspec

MOST_GROWTH = 0.03  # less than that is what a compiler does with the same code at another place
LEAST_NAMED = 1.0  # instructions: what of a function's growth is worth a line
MOST_NAMED = 12


class Kept(msgspec.Struct, frozen=True):
    """Instructions a call: of each piece, of each function itself."""

    facts: dict[str, str]
    counts: dict[str, dict[str, float]]


def facts() -> dict[str, str]:
    """What the number of instructions depends on, beside our code. Starts the compiler."""
    compiler = str(sysconfig.get_config_var("CC")).split()[0]
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return {
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "compiler": (said.stdout.splitlines() or ["none"])[0],
        "Python": f"{platform.python_version()}, {platform.python_compiler()}",
        "Cython": metadata.version("Cython"),
    }


def read_kept(path: Path) -> Kept:
    """
    The file. I/O.

    Raises: OSError; msgspec.ValidationError where it is none.
    """
    return msgspec.json.decode(path.read_bytes(), type=Kept)


def other_facts(kept: Kept, now: dict[str, str]) -> list[str]:
    """Why counts made now cannot be compared with the kept ones, a sentence each; empty where they can."""
    return [
        f"{name}: found {now.get(name)}; the counts were kept with {value}"
        for name, value in kept.facts.items()
        if now.get(name) != value
    ]


def grown(kept: dict[str, float], now: dict[str, float]) -> list[str]:
    """The functions of a piece that has grown beyond the limit, those that grew most first; empty where it has not."""
    if sum(now.values()) <= sum(kept.values()) * (1 + MOST_GROWTH):
        return []
    by = {name: now.get(name, 0) - kept.get(name, 0) for name in now.keys() | kept.keys()}
    most = sorted((each for each in by if by[each] >= LEAST_NAMED), key=lambda each: -by[each])
    return [
        f"{name}: {kept.get(name, 0):.0f} -> {now.get(name, 0):.0f} (+{by[name]:.0f})"
        for name in most[:MOST_NAMED]
    ]
