"""The settings, their documentation and their sample agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import (
    allowed_values,
    description_of,
    every_setting,
    read_settings,
)

DOCS = Path(__file__).parents[3] / "docs"


EVERY_SETTING = dict(every_setting())


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_docs_have_a_line_for_each_setting(name: str) -> None:
    """docs/settings.md lists name, default, range and meaning exactly as the code has them."""
    info = EVERY_SETTING[name]
    default = "" if info.required or info.default is None else f"`{json.dumps(info.default)}` "
    line = f"| `{name}` | {default}| {allowed_values(info)} | {description_of(info)} |"
    assert line in (DOCS / "settings.md").read_text().splitlines()


def test_docs_list_no_setting_that_does_not_exist() -> None:
    """A setting that was removed leaves docs/settings.md too."""
    rows = [
        line for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith("| `")
    ]
    assert [row.split("`")[1] for row in rows] == list(EVERY_SETTING)


def test_sample_file_holds_every_default() -> None:
    """docs/wsproxy.toml loads, equals the defaults and names each setting."""
    sample = DOCS / "wsproxy.toml"
    assert read_settings(sample) == Settings()
    text = sample.read_text()
    assert [name for name in EVERY_SETTING if f"{name.rpartition('.')[2]} = " not in text] == []
