"""How long a bridge waits before it asks the other site again. Pure."""

from __future__ import annotations

# Between two attempts at another site that does not answer: twice as long each time, less up to a half by chance, so that sites do not
# come back in step; and no longer than this.
AGAIN_S = 1.0
MOST_AGAIN_S = 30.0
_DOUBLINGS = 5


def pause_s(failed: int, chance: float) -> float:
    """Before the next attempt, after so many that failed before; ``chance``: 0 to 1."""
    return min(AGAIN_S * 2.0 ** min(failed, _DOUBLINGS), MOST_AGAIN_S) * (1 + chance) / 2
