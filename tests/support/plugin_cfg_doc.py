"""
The tables of docs/plugin-cfg.md, made from the model: one for each class, between ``<!-- table X -->`` and ``<!-- end -->``.

``python -m tests.support.plugin_cfg_doc`` writes them anew; a test compares. The text around them is written by hand.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from wsproxy.config import model
from wsproxy.config.attributes import ALIASES, specs_of
from wsproxy.config.model import AttributeSpec
from wsproxy.config.support import NOT_CARRIED_OUT

DOC = Path(__file__).resolve().parents[2] / "docs" / "plugin-cfg.md"
_TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def model_classes() -> dict[str, type]:
    """Name -> class, for every class of the model that has attributes."""
    return {
        name: cls
        for name, cls in vars(model).items()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls) and specs_of(cls)
    }


def tables_in(text: str) -> list[str]:
    """The classes that have a table in the document."""
    return [match[2] for match in _TABLE.finditer(text)]


def with_tables(text: str) -> str:
    """The document with every table as the model says."""
    classes = model_classes()
    return _TABLE.sub(lambda match: match[1] + table(classes[match[2]]) + match[3], text)


def table(cls: Any) -> str:
    """The Markdown table of one class."""
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    left = NOT_CARRIED_OUT.get(cls, {})
    aliases = {name: alias for alias, name in ALIASES.get(cls, {}).items()}
    lines = ["| attribute | values | default | meaning | wsproxy |", "|---|---|---|---|---|"]
    for field, spec in sorted(specs_of(cls).items(), key=lambda item: item[1].name.lower()):
        name = f"`{spec.name}`" + (f", `{aliases[spec.name]}`" if spec.name in aliases else "")
        default = "required" if spec.required else _default(defaults[field])
        done = "carries it out"
        if field in left:
            done = f"no effect: {left[field].why}" + (" (warning)" if left[field].is_warned else "")
        lines.append(f"| {name} | {_values(spec)} | {default} | {spec.meaning} | {done} |")
    return "\n".join(lines).replace("`|command`", "`\\|command`") + "\n"


def _values(spec: AttributeSpec) -> str:
    if spec.kind == "bool":
        return "`true`, `false`"
    if spec.kind == "enum":
        return ", ".join(f"`{word}`" for word in spec.allowed)
    if spec.kind == "str":
        return "text"
    unit = f" {spec.unit}" if spec.unit else ""
    low = "any" if spec.low is None else str(spec.low)
    if spec.low is None and spec.high is None:
        return f"whole number{unit}"
    return f"{low} to {spec.high}{unit}" if spec.high is not None else f"{low} or more{unit}"


def _default(value: object) -> str:
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


if __name__ == "__main__":
    DOC.write_text(with_tables(DOC.read_text()))
