"""Parcels from one process to another: what becomes of one whose descriptor finds no room."""

from __future__ import annotations

import os

import pytest

from tests.support.descriptors import no_descriptor_for
from wsproxy.dataplane.post import SEND_AGAIN, pair, receive_parcel, send_parcel


def test_parcel_without_room_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody can open must not be taken for the end of all parcels."""
    ours, theirs = pair()
    fd = os.memfd_create("parcel")
    try:
        send_parcel(ours, 7, fd)
        with no_descriptor_for(os.getpid()):
            assert receive_parcel(theirs) is None
        assert "no descriptor is left for generation 7" in caplog.text
        assert ours.recv(64) == SEND_AGAIN
        send_parcel(ours, 7, fd)
        found = receive_parcel(theirs)
        assert found is not None
        assert found[0] == 7
        os.close(found[1])
    finally:
        os.close(fd)
        ours.close()
        theirs.close()


def test_end_of_the_other_side_is_told_when_all_is_read() -> None:
    ours, theirs = pair()
    fd = os.memfd_create("parcel")
    send_parcel(ours, 7, fd)
    os.close(fd)
    ours.close()
    found = receive_parcel(theirs)
    assert found is not None
    os.close(found[1])
    with pytest.raises(EOFError):
        receive_parcel(theirs)
    theirs.close()
