"""docs/plugin-cfg.md says what the model and the checks say (rule T10)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.plugin_cfg_doc import DOC, model_classes, tables_in, with_tables
from wsproxy.config import support

CONFIG = Path(support.__file__).parent


def test_every_class_of_the_model_has_its_table() -> None:
    assert sorted(tables_in(DOC.read_text())) == sorted(model_classes())


def test_the_tables_are_those_of_the_model() -> None:
    """Write them anew with ``python -m tests.support.plugin_cfg_doc``."""
    text = DOC.read_text()
    assert with_tables(text) == text


def test_every_problem_code_is_explained() -> None:
    words = re.compile(r'"([a-z]+(?:-[a-z]+)+)"')
    sources = (
        "xml",
        "syntax",
        "attributes",
        "check",
        "check_cluster",
        "check_overlap",
        "check_support",
    )
    used = {code for name in sources for code in words.findall((CONFIG / f"{name}.py").read_text())}
    used |= {f"route-{part}-unknown" for part in ("cluster", "uris", "hosts")}
    explained = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", DOC.read_text()))
    assert used - explained == set()
    assert len(used) > 30


def test_what_is_not_carried_out_is_an_attribute() -> None:
    for cls, lines in support.NOT_CARRIED_OUT.items():
        fields = set(cls.__dataclass_fields__)  # type: ignore[attr-defined]
        assert set(lines) <= fields
