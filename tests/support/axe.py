"""axe-core, which finds what a keyboard or a screen reader cannot use in a page; from npm once, kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.chromium import Page

VERSION = "4.14.1"
NPM_S = 100.0
MISSING = "axe-core is not here and npm does not get it; what it checks is NOT checked"
_FINDINGS = (
    "axe.run({resultTypes: ['violations']}).then(found => found.violations.map(each => "
    "each.id + ': ' + each.help + ' ' + each.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary).join('; ')))"
)


async def findings(page: Page) -> list[str]:
    """What is wrong in the page as it is now; skips the test where axe-core cannot be got."""
    if await page.run("typeof axe") == "undefined":
        await page.run(_script().read_text("utf-8") + ";1")
    found: list[Any] = await page.run(_FINDINGS)
    return [str(each) for each in found]


def _script() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base, "wsproxy", f"axe-core-{VERSION}")
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(MISSING)
        folder.mkdir(parents=True, exist_ok=True)
        words = [
            npm,
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(folder),
        ]
        done = subprocess.run(
            [*words, f"axe-core@{VERSION}"], capture_output=True, timeout=NPM_S, check=False
        )
        if done.returncode or not script.exists():
            pytest.skip(f"{MISSING}: {done.stderr.decode(errors='replace')[-500:]}")
    return script
