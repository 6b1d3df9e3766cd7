"""The settings, their documentation and their sample agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import FieldInfo, fields

from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import allowed_values, read_settings, table_of

DOCS = Path(__file__).parents[3] / "docs"


def _every_setting(
    struct: type[msgspec.Struct] = Settings, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    for info in fields(struct):
        if inner := table_of(info):
            yield from _every_setting(inner, f"{prefix}{info.encode_name}.")
        else:
            yield f"{prefix}{info.encode_name}", info


def _description(info: FieldInfo) -> str:
    kind = msgspec.inspect.type_info(info.type)
    assert isinstance(kind, msgspec.inspect.Metadata)
    assert kind.extra_json_schema is not None
    return str(kind.extra_json_schema["description"])


EVERY_SETTING = dict(_every_setting())


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_docs_have_a_line_for_each_setting(name: str) -> None:
    """docs/settings.md lists name, default, range and meaning exactly as the code has them."""
    info = EVERY_SETTING[name]
    default = "" if info.required or info.default is None else f"`{json.dumps(info.default)}` "
    line = f"| `{name}` | {default}| {allowed_values(info)} | {_description(info)} |"
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
