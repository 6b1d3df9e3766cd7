"""docs/plugin-cfg.md says what the model and the checks say (rule T10)."""

from __future__ import annotations

from tests.support.plugin_cfg_doc import DOC, model_classes, tables_in, with_tables
from wsproxy.config import support


def test_every_class_of_the_model_has_its_table() -> None:
    assert sorted(tables_in(DOC.read_text())) == sorted(model_classes())


def test_the_tables_are_those_of_the_model() -> None:
    """Write them anew with ``python -m tests.support.plugin_cfg_doc``."""
    text = DOC.read_text()
    assert with_tables(text) == text


def test_what_is_not_carried_out_is_an_attribute() -> None:
    for cls, lines in support.NOT_CARRIED_OUT.items():
        fields = set(cls.__dataclass_fields__)  # type: ignore[attr-defined]
        assert set(lines) <= fields
