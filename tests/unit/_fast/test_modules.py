"""The map of the fast path names every module, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import wsproxy._fast


def test_each_module_is_on_the_map() -> None:
    assert wsproxy._fast.__doc__ is not None
    named = set(re.findall(r"``(\w+)``", wsproxy._fast.__doc__))
    folder = Path(wsproxy._fast.__file__).parent
    assert named == {each.stem for each in folder.glob("*.pxd")}
