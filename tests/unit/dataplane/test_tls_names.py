"""Names of cipher suites: the standard's, which servers look key sizes up by."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from wsproxy.dataplane.tls import standard_name


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL's own table is the oracle")
def test_names_are_those_of_openssls_own_table() -> None:
    """Every suite of TLS 1.2 and 1.3 that one would switch on."""
    listed = subprocess.run(
        ["openssl", "ciphers", "-stdname", "ECDHE:DHE:RSA:!PSK:!SRP:!ARIA:!CAMELLIA:!NULL"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert len(rows) > 30
    assert {row[2]: standard_name(row[2]) for row in rows} == {row[2]: row[0] for row in rows}


def test_unusual_name_stays() -> None:
    assert standard_name("GOST2012-GOST8912") == "GOST2012-GOST8912"
