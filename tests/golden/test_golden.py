"""Golden files: what each XML gives is what stands below its dashed line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.golden import CASES, DASHES, SAMPLES, outcome, source, split
from wsproxy.config import model
from wsproxy.config.attributes import specs_of

FILES = sorted(CASES.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reading_gives_what_the_golden_file_says(path: Path) -> None:
    xml, expected = split(path.read_text())
    found = outcome(source(xml))
    if os.environ.get("WSPROXY_GOLDEN") == "write":
        path.write_text(f"{xml}{DASHES}\n{found}")
        pytest.skip("written anew, not compared")
    assert found == expected


def test_each_sample_configuration_is_a_golden_case() -> None:
    named = {split(path.read_text())[0].strip() for path in FILES}
    assert {f"file: plugin-cfg/{path.name}" for path in SAMPLES.glob("*.xml")} <= named


def test_the_samples_use_the_whole_grammar() -> None:
    """Every attribute of the model stands in everything.xml (rule T10)."""
    text = (SAMPLES / "everything.xml").read_text(encoding="iso-8859-1")
    missing = [
        f"{cls.__name__}/{spec.name}"
        for cls in vars(model).values()
        if isinstance(cls, type) and hasattr(cls, "__dataclass_fields__")
        for spec in specs_of(cls).values()
        if f'{spec.name}="' not in text
    ]
    assert missing == []
