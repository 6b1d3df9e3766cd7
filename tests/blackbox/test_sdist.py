"""The source distribution: what somebody without this repository builds wsproxy from."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BUILD_S = 240  # one run of setup.py, which compiles Cython to C for the list of sources: beside eight busy processes minutes


# What only git wants.
OF_GIT = {".gitignore", ".gitattributes"}
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
# Files and folders of ours in `code`, and modules that are to be run.
_PATH = re.compile(r"`((?:wsproxy|tests|bench|docs|scripts|plugin-cfg)/[\w./-]+)")
_MODULE = re.compile(r"python -m ((?:wsproxy|tests|bench)[\w.]*)")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """All files of the source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, PROJECT],
        check=True,
        capture_output=True,
        timeout=BUILD_S,
    )
    (archive,) = folder.glob("wsproxy-*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def tracked() -> set[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, check=True, capture_output=True)
    return {name for name in done.stdout.decode().split("\0") if name and (PROJECT / name).exists()}


def test_sdist_holds_everything_that_git_tracks(held: set[str]) -> None:
    """Cython sources and the demo's page to build it; tests, benchmarks and docs because README names them."""
    assert sorted(tracked() - OF_GIT - held) == []


def test_sdist_holds_nothing_that_was_built(held: set[str]) -> None:
    assert [name for name in held if name.endswith((".so", ".pyc", ".o"))] == []


def test_what_readme_and_docs_name_is_there(held: set[str]) -> None:
    """Links, and paths and modules in code."""
    missing = []
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *PROJECT.glob("docs/**/*.md")]
    for page in pages:
        text = page.read_text()
        named = {
            (page.parent / link).resolve().relative_to(PROJECT) for link in _LINK.findall(text)
        }
        named |= {path for path in map(Path, _PATH.findall(text)) if not path.name.isupper()}
        named |= {Path(name.rstrip(".").replace(".", "/")) for name in _MODULE.findall(text)}
        for path in map(str, named):
            kinds = (
                path,
                f"{path}.py",
                f"{path}.pyx",
                f"{path}/__main__.py",
                f"{path}/__init__.py",
            )
            if not any(kind in held for kind in kinds):
                missing.append((str(page.relative_to(PROJECT)), path))
    assert missing == []
