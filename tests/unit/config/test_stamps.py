"""Which change of files is taken over."""

from __future__ import annotations

import os
from pathlib import Path

from wsproxy.config.stamps import Settling, Stamp, stamp_of

USED: Stamp = ((1, 10, 100),)
HALF: Stamp = ((2, 10, 100),)
WHOLE: Stamp = ((2, 20, 200),)


def test_change_counts_when_two_looks_have_seen_it_and_once() -> None:
    change = Settling(USED)
    looks = [USED, USED, HALF, WHOLE, WHOLE, WHOLE, USED, USED, USED]
    assert [change.has_settled(each) for each in looks] == [
        False, False, False, False, True, False, False, True, False,
    ]  # fmt: skip


def test_what_is_there_again_before_it_settled_is_no_change() -> None:
    change = Settling(USED)
    assert not any(change.has_settled(each) for each in (HALF, USED, USED, (None,), USED, USED))


def test_stamp_knows_another_file_of_the_same_name_and_none(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    before = stamp_of([file])
    times = (os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns)
    os.utime(other, ns=times)
    other.replace(file)
    assert stamp_of([file]) != before
    assert stamp_of([other]) == (None,)
