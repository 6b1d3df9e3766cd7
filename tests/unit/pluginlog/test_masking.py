"""What of a head may stand in http_plugin.log."""

from __future__ import annotations

import pytest

from wsproxy.pluginlog.masking import mask_field, mask_params, mask_target, mask_value

NAMES = frozenset({b"JSESSIONID"})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"0000QWERTZ:c1:c2", b"0000***:c1:c2"),
        (b"0000QWERTZ", b"0000***"),
        (b"QWERTZ:c1", b"***:c1"),
        (b"0000QWERTZ%3Ac1", b"0000***%3Ac1"),
        (b"", b"***"),
        (b"4711", b"***"),
        (b"0815", b"***"),
    ],
)
def test_a_session_keeps_cache_id_and_clone_ids(value: bytes, shown: bytes) -> None:
    assert mask_value(value) == shown


def test_paths_lose_sessions_and_queries() -> None:
    assert mask_params(b"/a;jsessionid=0000ABC:c1/b;x") == b"/a;jsessionid=0000***:c1/b;x"
    assert mask_params(b"/a;jsessionid=0000ABC+c1") == b"/a;jsessionid=0000***+c1"
    assert mask_params(b"/a%3Bjsessionid=0000ABC:c1/b") == b"/a%3Bjsessionid=0000***:c1/b"
    assert mask_params(b"/a%3bjsessionid%3DABC%3BS%3dXYZ") == b"/a%3bjsessionid%3D***%3BS%3d***"
    assert mask_params(b"/a;s=1:c1%3Bjsessionid=ABC") == b"/a;s=***:c1%3Bjsessionid=***"
    assert mask_target(b"/a;s=1?token=2") == b"/a;s=***"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"Cookie: a=1; JSESSIONID=0000ABC:c1; b", b"Cookie: a=***; JSESSIONID=0000***:c1; ***"),
        (
            b"Set-Cookie: JSESSIONID=0000ABC:c1; Path=/; HttpOnly",
            b"Set-Cookie: JSESSIONID=0000***:c1; Path=/; HttpOnly",
        ),
        (b"set-cookie: token=a:b; Path=/", b"set-cookie: token=***; Path=/"),
        (b"Referer: http://x/y;s=1?q=2", b"Referer: http://x/y;s=***"),
        (b"Location: /y?q=2", b"Location: /y"),
        (b"Host: x:80", b"Host: x:80"),
    ],
)
def test_header_lines_below_trace(line: bytes, shown: bytes) -> None:
    assert mask_field(line, b":", NAMES, shows_sessions=False) == shown


def test_at_trace_only_passwords_are_hidden() -> None:
    cookie = b"Cookie: a=1; JSESSIONID=0000ABC:c1"
    assert mask_field(cookie, b":", NAMES, shows_sessions=True) == cookie
    for name in (b"Authorization", b"proxy-authorization"):
        line = mask_field(name + b": Basic dTpw", b":", NAMES, shows_sessions=True)
        assert line == name + b": ***"
