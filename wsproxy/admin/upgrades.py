"""
What is asked and answered about replacing the running program, over the admin socket and inside the proxy.

Used by ``admin.upgrade_desk``, ``process.upgrade`` and ``cli.upgrade``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

UPGRADE_PATH = "/v1/upgrade"


class UpgradeQuestion(msgspec.Struct):
    """From the admin process to the supervisor."""

    number: int
    who: str


class UpgradeResult(msgspec.Struct):
    """
    What became of it.

    ``pid``: of the supervisor that answers for the proxy now; ``why`` it failed; ``seconds`` from the question to the answer.
    """

    result: Literal["in use", "failed"]
    pid: int
    why: str
    seconds: float


class UpgradeAnswer(msgspec.Struct):
    """To the admin process: of the question with this number."""

    number: int
    became: UpgradeResult
