"""What a log may tell is masked and escaped in C as in Python, and no session and no password is left."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles import mask as oracle
from tests.support.oracles.mask import Masker
from wsproxy._fast.tell import mask, told
from wsproxy._fast.tell.mask import SessionNames

pytestmark = pytest.mark.asan

PIECES = st.one_of(
    st.sampled_from(
        [
            b";jsessionid=", b";", b"=", b"/", b"?", b":", b"+", b"%3A", b"%3a", b"%2B", b"%2b", b"0000", b"00\n", b"0007q",
            b"k1", b" ", b"\t", b'"', b"\\", b"\r\n", b"\x00", b"\xff", b"GET /a", b" HTTP/1.1", b"JSESSIONID=", b"theme=dark",
            b"%3Bjsessionid%3D", b"%3b", b"%3d", b"%3", b"%", b"%25", b"3D", b"jsessionid", b"SID", b"sid=", b"&", b"#", b"@",
            b"://", b"//", b"http://u:p@h/", b"%3A%2F%2F", b"%40", b"%2f", b"a", b"5", b",", b"<", b"%26sid%253d",
            b":%2f%2f", b"%2F/", b"token=", b"auth", b"Api_Key=", b"auth=", b"-", b".", b"Path=/", b"; x=",
            b"[token]=", b"%5Btoken%5D=", b"%255d", b"%5b", b"[", b"]", b"%253a%252F%252f", b"%2540",
        ]
    ),
    st.binary(max_size=3),
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=12).map(b"".join)
COOKIES, URL_IDS = frozenset((b"JSESSIONID", b"Sid")), frozenset((b"wsid",))
NAMES = SessionNames(COOKIES, URL_IDS)
ORACLE, SHOWING = Masker(COOKIES, URL_IDS), Masker(COOKIES, URL_IDS, shows_sessions=True)
SECRET = b"QWERTZ"


@given(st.binary(max_size=300))
@example(bytes(range(256)))
def test_escapes_are_the_oracles(value: bytes) -> None:
    escaped = mask.escape(value)
    assert escaped == oracle.escape(value)
    assert all(0x20 <= c <= 0x7E for c in escaped)


@pytest.mark.parametrize("length", range(1, 50))
def test_a_byte_is_found_wherever_it_stands(length: int) -> None:
    """Searches take sixteen, eight and four bytes at a time, and the last ones twice."""
    for at in range(length):
        for special in (b'"', b"\\", b"\x1f", b"\x7f", b"\x80", b"\xff"):
            value = b"x" * at + special + b"~" * (length - at - 1)
            assert mask.escape(value) == oracle.escape(value) != value
        if at:
            path = b"x" * (at - 1) + b";" + b"~" * (length - at) + b"=secret"
            assert mask.mask(path, "address", NAMES) == path.removesuffix(b"secret") + b"***"
        query = b"x" * at + b"&sid=secret" + b"x" * (length - at)
        assert mask.mask(query, "query", NAMES) == b"x" * at + b"&sid=***"
        coded = b"x" * at + b"%3Bsid%3Dsecret/" + b"x" * (length - at)
        assert mask.mask(coded, "address", NAMES) == ORACLE.address(coded)


@settings(max_examples=400)
@given(VALUES, st.booleans())
@example(b"/a;jsessionid=0000QWERTZ:k1?q=;x=y", False)
@example(b";a;b=c/d;e", False)
@example(b"/a%3Bjsessionid=0000QWERTZ:k1%3Bx%3dSECRET?q%3Bx=y", False)
@example(b"http://u@:p@h/?x=http://a@b&y@z", True)
@example(b"%3A%2F%2Fu%40h%40%2F@%3a%2f%2fx&@", False)
def test_addresses_are_the_oracles(value: bytes, shows: bool) -> None:
    masker = SHOWING if shows else ORACLE
    assert mask.mask(value, "address", NAMES, shows_sessions=shows) == masker.address(value)
    assert mask.mask(value, "query", NAMES, shows_sessions=shows) == masker.text(value, "query")


@given(VALUES)
@example(b"GET /a;jsessionid=0000QWERTZ:k1 HTTP/1.1")
@example(b"GET /a;jsessionid=0000QWERTZ")
@example(b"GET  HTTP/1.1")
@example(b" ")
@example(b"  ")
def test_request_lines_are_the_oracles(value: bytes) -> None:
    assert mask.mask(value, "request_line", NAMES) == ORACLE.request_line(value)


@given(VALUES)
@example(b'"0000QWERTZ:k1"')
def test_sessions_are_the_oracles(value: bytes) -> None:
    assert mask.mask(value, "session", NAMES) == ORACLE.session(value)


FIELD_NAMES = st.sampled_from(
    ["Cookie", "cookie2", "Set-Cookie", "SET-COOKIE2", "Referer", "Location", "Content-Location", "Authorization",
     "Proxy_Authorization", "$WSPT", "$wssi", "X-Other", "$WSP", "Cookies", "X_Auth", "Author", "X-Api_Key", "X-CSRFToken"]
)  # fmt: skip


@settings(max_examples=400)
@given(FIELD_NAMES, VALUES, st.booleans())
@example("Cookie", b"JSESSIONID=0000QWERTZ:k1; theme=dark;x; Sid=a+k2", False)
@example("Cookie", b"JSESSIONID=0000QWERTZ:k1, Sid=0000QWERTZ:k2,theme=dark", False)
@example("Set-Cookie", b"JSESSIONID=0000QWERTZ:k1; Path=/; Comment=jsessionid=x", False)
@example("$WSPT", b"http://u:p@h/", True)
def test_fields_are_the_oracles(name: str, value: bytes, shows: bool) -> None:
    masker = SHOWING if shows else ORACLE
    assert mask.mask(value, name, NAMES, shows_sessions=shows) == masker.field(name.encode(), value)


@pytest.mark.parametrize(
    "value",
    [
        b"/a;jsessionid=0001QWERTZ:c1/b",
        b"/a;anything=QWERTZ/b;more=QWERTZ",
        b"/a%3Bjsessionid%3DQWERTZ:c1/b",
        b"/a%253Bjsessionid%253DQWERTZ",
        b"/a?jsessionid=QWERTZ",
        b"/a?x=1&JSessionID=QWERTZ&y=2",
        b"/a?x=1;jsessionid=QWERTZ",
        b"/a?next=%2Fb%3Bjsessionid%3DQWERTZ",
        b"/a?next=%252Fb%253Bjsessionid%253DQWERTZ",
        b"/a?next=/b&wsid=QWERTZ&sid=QWERTZ",
        b"/a&jsessionid=QWERTZ",
        b"/a;jsessionid=x:c1%26jsessionid=QWERTZ",
        b"http://user:QWERTZ@h/",
        b"http://QWERTZ@h",
        b"ftp://u:p@QWERTZ@h/a?b",
        b"/redirect?to=https://u:QWERTZ@h/",
        b"/redirect?to=https%3A%2F%2Fu%3AQWERTZ%40h%2F",
        b"/redirect?to=http:%2f%2fu:QWERTZ@h",
        b"/redirect?to=https%253A%252F%252Fu%253AQWERTZ%2540h%252F",
        b"/redirect?to=%25252f%25252fu:QWERTZ%252540h",
        b"/redirect?to=//u:QWERTZ@h/&x=1",
        b"/redirect?to=%2F%2Fu:QWERTZ%40h",
        b"/login?user=me&password=QWERTZ&x=y",
        b"/a?access_token=QWERTZ+QWERTZ:QWERTZ",
        b"/a?X-Amz-Security-Token=QWERTZ",
        b"/a?next=%2Fb%3FclientSecret%3DQWERTZ",
        b"/a?API_KEY=QWERTZ;auth=QWERTZ",
        b"/a?user[password]=QWERTZ",
        b"/a?user%5Bpassword%5D=QWERTZ&users%5b0%5d%5bpassword%5d=QWERTZ",
        b"/a?next=%2Fb%3Fuser%255Bpassword%255D%3DQWERTZ",
        b"/a?passphrase=QWERTZ",
    ],
)
def test_no_address_tells_a_session_or_a_password(value: bytes) -> None:
    """In the access log, in http_plugin.log, and as a field of either."""
    assert SECRET not in mask.mask(value, "address", NAMES)
    assert SECRET not in mask.mask(b"GET " + value + b" HTTP/1.1", "request_line", NAMES)
    assert SECRET not in told.mask_target(value, NAMES)
    assert SECRET not in mask.mask_address(value, NAMES)
    head = b"GET %b HTTP/1.1\r\nReferer: %b\r\nLocation: %b\r\n\r\n" % (value, value, value)
    assert SECRET not in told.mask_head(head, NAMES)


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: a=QWERTZ; JSESSIONID=0000QWERTZ:c1; QWERTZ",
        b'Cookie: JSESSIONID="0001QWERTZ:c1"; JSESSIONID =QWERTZ;JSESSIONID=QWERTZ',
        b"Cookie: JSESSIONID=0000QWERTZ:c1, JSESSIONID = 0001QWERTZ:c2,a=QWERTZ",
        b"Cookie2: JSESSIONID=QWERTZ",
        b"Set-Cookie: JSESSIONID=0000QWERTZ:c1; Path=/",
        b"Set-Cookie2: a=QWERTZ",
        b"Set-Cookie: theme=dark; Path=/, LtpaToken2=QWERTZ; Expires=Wed, 21 Oct 2026 07:28:00 GMT, SID=QWERTZ:c1",
        b"Set-Cookie: theme=dark; other = QWERTZ",
        b"X-Api-Key: QWERTZ",
        b"APIKEY: QWERTZ",
        b"X-Auth-Token: QWERTZ",
        b"X_AUTH: QWERTZ",
        b"X-Forwarded-Authorization: QWERTZ",
        b"X-Login: user=me, password=QWERTZ",
        b"Refresh: 0; url=/a;jsessionid=QWERTZ:c1",
        b"Link: </a;jsessionid=QWERTZ>; rel=next",
        b"X-Original-URL: /a?jsessionid=QWERTZ",
        b"X-Cookie: theme=dark; SID=QWERTZ",
        b"X-To: http://u:QWERTZ@h/",
        b"Authorization: Basic QWERTZ",
        b"proxy-authorization: Basic QWERTZ",
        b"$WSPT: 1:QWERTZ",
        b"$WSSI: QWERTZ",
    ],
)
def test_no_field_tells_a_session_or_a_password(line: bytes) -> None:
    head = b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n"
    assert SECRET not in told.mask_head(head, NAMES)
    name, _, value = line.partition(b": ")
    assert SECRET not in mask.mask(value, name.decode(), NAMES)
    assert told.mask_head(head, NAMES, shows_sessions=True) == head or b"***" in told.mask_head(
        head, NAMES, shows_sessions=True
    )


@pytest.mark.parametrize("value", [b"QWER+QWERTZ", b"QWER%2BQWERTZ", b"QWER%2bQWERTZ:c1"])
def test_id_with_the_other_separator_is_masked_whole(value: bytes) -> None:
    """Ids of servers that are no WebSphere have plus signs in them."""
    names = SessionNames(COOKIES, URL_IDS, b":")
    for what, text in (
        ("session", value),
        ("address", b"/a;wsid=" + value),
        ("Cookie", b"Sid=" + value),
    ):
        assert SECRET not in mask.mask(text, what, names)
    assert SECRET not in told.mask_target(b"/a;wsid=" + value, names)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"a=b; Path=/x; Max_Age=3; Secure", b"a=***; Path=/x; Max_Age=3; Secure"),
        (b"Sid=0000ABC:c1; path = /, x=y", b"Sid=0000***:c1; path = /,x=***"),
        (
            b"a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            b"a=***; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        ),
    ],
)
def test_attributes_of_a_cookie_stay(value: bytes, told: bytes) -> None:
    assert mask.mask(value, "Set-Cookie", NAMES) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"/a;jsessionid=0000ABC:c1/b;x", b"/a;jsessionid=0000***:c1/b;x"),
        (b"/a;jsessionid=0000ABC+c1", b"/a;jsessionid=0000***+c1"),
        (b"/a%3bjsessionid%3DABC%3BS%3dXYZ", b"/a%3bjsessionid%3D***%3BS%3d***"),
        (b"/a?page=3&sort=up", b"/a?page=3&sort=up"),
        (b"/a?mysid=3&sidx=4", b"/a?mysid=3&sidx=4"),
        (b"/a?sid=0001ABC:c1&page=3", b"/a?sid=0001***:c1&page=3"),
        (b"/me@h/a?mail=me@h", b"/me@h/a?mail=me@h"),
        (b"http://u:p@h:81/a", b"http://***@h:81/a"),
        (b"//me@h/a?author=me&key=5&sortkey=up", b"//me@h/a?author=me&key=5&sortkey=up"),
    ],
)
def test_what_is_no_secret_stays(value: bytes, told: bytes) -> None:
    assert mask.mask(value, "address", NAMES) == told


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["\\", "\\x", "\\x5", "\\x5c", "x41", "[", "[2", "1/", "12/", " ", "Wed Oct 03 ", "[21/Nov/2026", "\\n", "\x1b[31m", "\u202e", "\u2028", "\x9b", "\u061c", "\u2066", "\u2069", "\u200f", "\u202f", "\u2067", "é", "€", "\U0001f600"]).map(lambda text: text.encode()),
        st.sampled_from([b"\xff", b"\xc2", b"\xe2\x80", b"\xed\xa0\x80", b"\xf0\x90\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf"]),
        st.binary(max_size=4),
    ),
    max_size=8,
).map(b"".join)  # fmt: skip
