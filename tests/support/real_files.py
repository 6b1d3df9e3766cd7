"""Where the corpus of real files is: ``shared/corpus`` beside the project, or beside the folder that its worktrees are in."""

from __future__ import annotations

from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]
CORPUS = next(
    (found for up in _PROJECT.parents[:2] if (found := up / "shared" / "corpus").is_dir()),
    _PROJECT.parent / "shared" / "corpus",
)
needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus of real files (../shared/corpus) is not on this machine"
)
