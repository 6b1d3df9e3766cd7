"""The source distribution: what somebody without this repository builds wsproxy from."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

PROJECT = Path(__file__).parents[2]
BUILD_S = 90  # one run of setup.py, which compiles Cython to C for the list of sources


def test_sdist_builds_and_holds_everything_that_a_build_needs(tmp_path: Path) -> None:
    """Every file of the package that git tracks is in it, Cython sources and the demo's page included."""
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, PROJECT],
        check=True,
        capture_output=True,
        timeout=BUILD_S,
    )
    (archive,) = tmp_path.glob("wsproxy-*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    tracked = subprocess.run(
        ["git", "ls-files", "wsproxy", "pyproject.toml", "setup.py", "LICENSE", "README.md"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert sorted(set(tracked) - held) == []
