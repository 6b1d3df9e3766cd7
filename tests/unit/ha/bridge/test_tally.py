"""What an end counts of what the other site says, whatever that is."""

from __future__ import annotations

from wsproxy.admin.bridge_counts import BridgeCounts, Word
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.ha.bridge.tally import Tally
from wsproxy.ha.bridge.words import EndSaid

MOST = 2**63 - 1


def test_numbers_that_nobody_reaches_do_not_end_the_bridge() -> None:
    """Each is within what an end may say; their sum is more than a word of the row holds, and stays what it holds."""
    there = BridgeSettings(core_group="west", endpoints=("http://127.0.0.1:1",))
    ha = HaSettings(store="etcd", cell="cell", core_group="east", bridges=(there,))
    row = BridgeCounts(ha).rows["cell/west"]
    tally = Tally("cell/west", row)
    for member in ("first", "a", "b", "c"):
        tally.hear_end(EndSaid(member, "up", 0, (), words=2**62))
    assert row[Word.COPIED_OUT] == MOST
    tally.hear_end(EndSaid("d", "up", 0, (), words=1))
    assert row[Word.COPIED_OUT] == MOST
    tally.copy(3)
    assert row[Word.COPIED_IN] == 3
    tally.close()
