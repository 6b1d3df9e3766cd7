"""
A hundred requests a second to a URL until standard input ends; then each one's answer, or why there was none, as JSON.

    python -m tests.support.pair_client URL

A process of its own, because it lives in another network namespace than the test.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tests.support.pair_lab import until
from wsproxy.ha.pair.load import Load


async def main(url: str) -> None:
    load = Load(url)
    load.begin()
    await until(lambda: any(not each.is_lost for each in load.sent), "no answer")
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await load.stop()
    good = next(index for index, each in enumerate(load.sent) if not each.is_lost)
    sys.stdout.write(json.dumps([each.answer or each.why for each in load.sent[good:]]))


asyncio.run(main(sys.argv[1]))
