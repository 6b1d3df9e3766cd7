"""
What the acceptance tests get through Maven, once: kept in the user's cache, outside the tree.

Driven by liberty.py and embedded.py. Must not run where the cache has it already.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.java import NotHereError, tool

MAVEN_S = 1200.0  # 343 MB on a slow line

POM_XML = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>wsproxy</groupId><artifactId>acceptance</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "wsproxy", "acceptance")


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept(name: str, fill: Callable[[Path], None]) -> Path:
    """
    The folder of this name in the user's cache; the first time ``fill`` makes what is in it.

    Safe beside other runs and after aborted ones: one fills at a time, and what is not whole never has its name.
    Raises: NotHereError. I/O, minutes the first time.
    """
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if (cache / name).exists():
            return cache / name
        for left in cache.glob("unpacking-*"):  # of a run that was killed: we hold the lock
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as temporary:
            fresh = Path(temporary, "fresh")
            fresh.mkdir()
            fill(fresh)
            fresh.rename(cache / name)
    return cache / name


def copy_jars(artifacts: Sequence[str], folder: Path, *, with_theirs: bool) -> None:
    """These ``GROUP:ARTIFACT:VERSION`` as jars in the folder; ``with_theirs``: and all that they depend on."""
    folder.mkdir(parents=True, exist_ok=True)
    dependencies = "".join(DEPENDENCY.format(*each.split(":")) for each in artifacts)
    (folder / "pom.xml").write_text(POM_XML.format(dependencies=dependencies))
    run_maven(
        folder,
        "dependency:copy-dependencies",
        f"-DoutputDirectory={folder}",
        f"-DexcludeTransitive={str(not with_theirs).lower()}",
    )


def run_maven(folder: Path, *arguments: str) -> None:
    """Raises: NotHereError with what Maven said last, as there may be no network."""
    command = [tool("mvn"), "--batch-mode", "--quiet", "-Dstyle.color=never", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MAVEN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        msg = f"Maven did not get {arguments[0]} done in {MAVEN_S:.0f} s"
        raise NotHereError(msg) from None
    if done.returncode:
        said = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stdout)
        msg = f"Maven could not do {arguments[0]}: {said[:500]}"
        raise NotHereError(msg)
