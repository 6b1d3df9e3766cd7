"""What the fuzzer found stays found: its inputs, and those that it begins with, pass their targets (also under ASAN)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.seeds import MAX_BYTES, SEEDS, dictionary, seeds
from tests.fuzz.targets import MISSING, TARGETS

pytestmark = pytest.mark.asan

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_is_mended(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_pass(target: str) -> None:
    inputs = seeds(target)
    assert len(inputs) > 5  # a moved corpus would turn this into nothing
    for data in inputs:
        TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_what_the_fuzzer_needs(target: str) -> None:
    assert target in SEEDS
    assert target in MAX_BYTES
    assert dictionary(target).count("\n") >= 10
    assert target not in MISSING


def test_every_folder_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(TARGETS)
