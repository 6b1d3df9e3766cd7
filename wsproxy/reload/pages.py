"""
Whether pages of ``[[edge]]`` tables, for errors and maintenance, are others than those in use.

Driven by ``reload.loader``, once a second: which files they are follows the configuration, so nobody listens for them, and a look at a handful of
files costs nothing. Like all files they are read when nobody touches them any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsproxy.config.check_edge import read_page
from wsproxy.config.settings_edge import Page
from wsproxy.config.stamps import Stamp, stamp_of


@dataclass(slots=True)
class PageWatch:
    """``dealt_with``: what stood there when it was found out last whether it is what is in use."""

    dealt_with: Stamp | None = None
    _before: Stamp | None = None

    @classmethod
    def from_now(cls, pages: Sequence[Page]) -> PageWatch:
        """What stands there now is left alone: an earlier loader has seen it. # I/O."""
        return cls(_look(pages))

    def are_others(self, pages: Sequence[Page]) -> bool:
        """Whether the files have something else than ``pages``, which are in use; once for each change, a look after it is over. # I/O."""
        now = _look(pages)
        if now == self.dealt_with:
            return False
        if now != self._before:
            self._before = now
            return False
        self.dealt_with = now
        return any(_is_other(page) for page in pages)


def _look(pages: Sequence[Page]) -> Stamp:
    return stamp_of(Path(page.path) for page in pages)


def _is_other(page: Page) -> bool:
    try:
        return read_page(page.path) != page
    except OSError:
        return True  # whoever reads the configuration says why
