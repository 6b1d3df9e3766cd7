"""README and CONTRIBUTING send nobody to a file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"`(?:[^`]* )?([\w./-]+\.(?:pyx|py|pxd|toml|md))(?:[: ][^`]*)?`")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_are_there(page: str) -> None:
    named = {name for name in FILE.findall((ROOT / page).read_text()) if "/" in name}
    assert named
    places = [ROOT, ROOT / "wsproxy"]
    assert not [name for name in named if not any((at / name).exists() for at in places)]


def test_the_picture_shows_every_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    packages = {each.parent.name for each in (ROOT / "wsproxy").glob("*/__init__.py")}
    floors = {each.name for each in (ROOT / "wsproxy/_fast").iterdir() if each.is_dir()}
    picture = set(re.findall(r"^ +(\w+) {2,}", text, re.MULTILINE))
    shown = picture | {"demo"}  # beside process
    assert packages <= shown
    assert {each for each in floors if each[0] != "_"} <= shown
