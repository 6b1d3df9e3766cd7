"""
Request and response heads read the slow and obvious way: RFC 9110 and RFC 9112, sections named beside each rule.

Driven by tests/unit/_fast. Reads whole lines, first to last, and refuses at the first that is wrong; what only the head
as a whole can show (framing, Host) is judged after the last line. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.support.oracles import paths
from tests.support.oracles.errors import HeadError, RefusedError

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2
# More than RFC 3986 allows (applications live with | { } ^ " in queries), but visible ASCII only and no fragment.
TARGET = re.compile(rb'[!"$-~]+')
VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")  # RFC 9112 2.3
STATUS_LINE = re.compile(
    rb"HTTP/1\.([01]) (([1-9][0-9][0-9])(?: [\t -~\x80-\xff]*)?)"
)  # RFC 9112 4
HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{0,5}))?")  # RFC 3986 3.2.2
CONTROL = re.compile(
    rb"[\x00-\x08\x0a-\x1f\x7f]"
)  # what no line may hold; HTAB is allowed where blanks are
BLANKS = b" \t"

LONGEST_METHOD = 32
MOST_FIELDS = 300  # limits.header_fields may only be lower
MOST_OPTIONS = 32

# RFC 9110 7.6.1 names these; Connection and Transfer-Encoding are told apart because they say more.
HOP_BY_HOP = {b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
# FieldKind of head.pxd
KINDS = {
    b"host": 1,
    b"content-length": 2,
    b"transfer-encoding": 3,
    b"connection": 4,
    **dict.fromkeys(HOP_BY_HOP, 5),
    b"te": 12,
    b"trailer": 13,
    b"expect": 6,
    b"cookie": 7,
    b"set-cookie": 9,
    b"date": 11,
}
PRIVATE = 8
OWN = 14
LOOK_ALIKE = 15
# Of names that are written anew or end here: CGI and what is like it takes ``_`` and ``-`` for the same (RFC 3875 4.1.18).
IMITATED = {b"content-length", b"transfer-encoding", b"keep-alive", b"proxy-connection"}
# Connection cannot take these away: a message whose framing is lost is another message.
OWN_OPTIONS = {b"close", b"keep-alive", b"upgrade"}  # mean something themselves, name no field
NEVER_DROPPED = {b"host", b"content-length", b"transfer-encoding"}


@dataclass
class Fields:
    """What the field lines say together."""

    rows: list[tuple[bytes, bytes]] = field(default_factory=list)
    options: list[bytes] = field(default_factory=list)  # of Connection, lower case
    content_length: int = -1
    chunked: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.rows if key.lower() == name]

    def as_rows(self) -> list[tuple[bytes, bytes, int, bool]]:
        """(name, value, kind, whether Connection names it), as ``read_request`` gives them."""
        named = set(self.options) - OWN_OPTIONS - NEVER_DROPPED
        return [
            (name, value, kind_of(name.lower()), name.lower() in named) for name, value in self.rows
        ]

    def keeps_alive(self, minor: int) -> bool:
        """RFC 9112 9.3."""
        if b"close" in self.options:
            return False
        return minor == 1 or b"keep-alive" in self.options


def welcomes_trailers(fields: Fields) -> bool:
    """RFC 9110 10.1.4: a member ``trailers``, without a weight."""
    members = ",".join(value.decode("latin-1") for value in fields.values(b"te")).split(",")
    return any(member.strip(" \t").lower() == "trailers" for member in members)


def kind_of(name: bytes) -> int:
    if name.startswith((b"$ws", b"_ws_")):
        return PRIVATE
    hyphens = name.replace(b"_", b"-")
    if hyphens.startswith(b"x-wsproxy-") and hyphens != b"x-wsproxy-":
        return OWN
    if hyphens.startswith(b"-ws-") or (hyphens != name and hyphens in IMITATED):
        return LOOK_ALIKE
    return KINDS.get(name, 0)


def control_or(reason: HeadError, text: bytes) -> RefusedError:
    """Where text is wrong, a control character in it is the better reason."""
    found = CONTROL.search(text)
    if found is None:
        return RefusedError(reason)
    return RefusedError(HeadError.BARE_CR if found[0] == b"\r" else HeadError.NUL_OR_CONTROL)


def check_line_end(line: bytes) -> bytes:
    """The line without CR LF. RFC 9112 2.2 lets a recipient take a lone LF; that is how requests are smuggled."""
    if not line.endswith(b"\r"):
        raise RefusedError(HeadError.BARE_LF)
    return line[:-1]


def split_field(line: bytes) -> tuple[bytes, bytes]:
    """RFC 9112 5 and 5.1: no folding, no blank between name and colon."""
    if line[:1] in (b" ", b"\t"):
        raise RefusedError(HeadError.OBS_FOLD)
    name, colon, value = line.partition(b":")
    if not colon or not TOKEN.fullmatch(name):
        if colon and name != name.rstrip(BLANKS) and TOKEN.fullmatch(name.rstrip(BLANKS)):
            raise RefusedError(HeadError.SPACE_BEFORE_COLON)
        raise control_or(HeadError.BAD_FIELD_NAME, line)
    if CONTROL.search(value):
        raise control_or(HeadError.NUL_OR_CONTROL, value)
    return name, value.strip(BLANKS)


def split_list(value: bytes) -> list[bytes]:
    """RFC 9110 5.6.1: empty elements do not count."""
    return [part.strip(BLANKS) for part in value.split(b",") if part.strip(BLANKS)]


def note_field(fields: Fields, name: bytes, value: bytes) -> None:
    """RFC 9112 6.1 and 6.2, as narrow as they allow: one length in digits, one coding and that is chunked."""
    key = name.lower()
    earlier = fields.values(key)
    if key == b"content-length":
        if earlier:
            raise RefusedError(HeadError.SEVERAL_CONTENT_LENGTHS)
        if not re.fullmatch(rb"[0-9]{1,18}", value):
            raise RefusedError(HeadError.BAD_CONTENT_LENGTH)
        fields.content_length = int(value)
    elif key == b"transfer-encoding":
        if earlier or value.lower() != b"chunked":
            raise RefusedError(HeadError.BAD_TRANSFER_ENCODING)
        fields.chunked = True
    elif key == b"connection":
        options = split_list(value)
        fields.options += [option.lower() for option in options]
        if len(fields.options) > MOST_OPTIONS or not all(map(TOKEN.fullmatch, options)):
            raise RefusedError(HeadError.BAD_CONNECTION)
    fields.rows.append((name, value))


def parse_fields(data: bytes, start: int, most: int) -> tuple[Fields, int] | None:
    """The fields and where the empty line ends; None while it is not there."""
    fields = Fields()
    while True:
        end = data.find(b"\n", start)
        if end < 0:
            return None
        line = data[start:end]
        start = end + 1
        if line == b"\r":
            break
        if len(fields.rows) >= most:
            raise RefusedError(HeadError.TOO_MANY_FIELDS)
        note_field(fields, *split_field(check_line_end(line)))
    if fields.chunked and fields.content_length >= 0:
        raise RefusedError(HeadError.LENGTH_AND_ENCODING)
    return fields, start


@dataclass
class Authority:
    """host[:port]."""

    text: bytes = b""
    host: bytes = b""
    port: int = -1


def parse_authority(text: bytes) -> Authority:
    """RFC 9110 7.2 and 4.2.1: never empty, no user, no percent-encoding."""
    found = HOST.fullmatch(text)
    if not found:
        raise RefusedError(HeadError.BAD_HOST)
    host, port = found[1], found[2]
    if host.startswith(b"["):
        host = host[1:-1]
        if host.count(b":") < 2:
            raise RefusedError(HeadError.BAD_HOST)
    number = int(port) if port else -1
    if number > 65535:
        raise RefusedError(HeadError.BAD_HOST)
    return Authority(text, host, number)


def split_target(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """(what goes to the server, authority or None) by RFC 9112 3.2."""
    if target.startswith(b"/"):
        return target, None
    if target == b"*" and method == b"OPTIONS":
        return target, None
    found = re.fullmatch(rb"(?i:https?)://([^/?]*)(.*)", target)
    if not found or not (found[1] or found[2]) or found[2].startswith(b"?"):
        raise RefusedError(HeadError.BAD_TARGET)
    if not found[2]:
        return (b"*" if method == b"OPTIONS" else b"/"), found[1]  # 3.2.1, 3.2.4
    return found[2], found[1]


def parse_request_line(
    line: bytes, target_bytes: int, *, trace: bool
) -> tuple[bytes, bytes, bytes | None, int]:
    """(method, target, authority, minor version), judged from left to right (RFC 9112 3)."""
    method, blank, rest = line.partition(b" ")
    if not blank:
        raise control_or(HeadError.BAD_REQUEST_LINE, line)
    if not TOKEN.fullmatch(method) or len(method) > LONGEST_METHOD:
        raise control_or(HeadError.BAD_METHOD, method)
    target, blank, version = rest.partition(b" ")
    if not blank or not target:
        raise control_or(HeadError.BAD_REQUEST_LINE, rest)
    if len(target) > target_bytes:
        raise RefusedError(HeadError.TARGET_TOO_LONG)
    if not TARGET.fullmatch(target):
        raise control_or(HeadError.BAD_TARGET, target)
    if not VERSION.fullmatch(version):
        more = HeadError.BAD_REQUEST_LINE if b" " in version else HeadError.BAD_VERSION
        raise control_or(more, version)
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise RefusedError(HeadError.UNSUPPORTED_VERSION)
    if method == b"TRACE" and not trace:
        raise RefusedError(HeadError.TRACE_REFUSED)
    if method == b"CONNECT":
        raise RefusedError(HeadError.METHOD_REFUSED)
    path, authority = split_target(method, target)
    return method, path, authority, int(version[-1:])


def find_authority(fields: Fields, target: bytes | None, minor: int) -> Authority:
    """The authority that counts: the target's, else Host (RFC 9112 3.2 and 3.2.2); both must be sound."""
    hosts = fields.values(b"host")
    if len(hosts) > 1:
        raise RefusedError(HeadError.SEVERAL_HOSTS)
    if not hosts and minor == 1:
        raise RefusedError(HeadError.NO_HOST)
    authority = parse_authority(hosts[0]) if hosts else Authority()
    return authority if target is None else parse_authority(target)


def find_hops(method: bytes, fields: Fields) -> int:
    """RFC 9110 7.6.2: Max-Forwards counts for OPTIONS and TRACE only; and TRACE has no content (9.3.8)."""
    if method == b"TRACE" and (fields.chunked or fields.content_length > 0):
        raise RefusedError(HeadError.TRACE_WITH_BODY)
    values = fields.values(b"max-forwards")
    if method not in (b"OPTIONS", b"TRACE") or not values:
        return -1
    if not re.fullmatch(rb"[0-9]{1,18}", b",".join(values)):
        raise RefusedError(HeadError.BAD_MAX_FORWARDS)
    return int(values[0])


def parse_request(
    data: bytes,
    *,
    head_bytes: int = 65536,
    target_bytes: int = 16384,
    header_fields: int = 300,
    trace: bool = False,
    refuse_ambiguous: bool = False,
) -> dict[str, object] | None:
    """What the head says; None while it is not whole. Raises RefusedError."""
    # RFC 8446 5.1: handshake(22), and the major version of all records
    if data.startswith(b"\x16\x03"):
        raise RefusedError(HeadError.TLS_HANDSHAKE)
    end = data.find(b"\n")
    if end < 0:
        if len(data) > LONGEST_METHOD + len(b" ") + target_bytes + len(b" HTTP/1.1\r"):
            raise RefusedError(HeadError.TARGET_TOO_LONG)
        if len(data) > head_bytes:
            raise RefusedError(HeadError.HEAD_TOO_LARGE)
        return None
    line = check_line_end(data[:end])
    method, target, in_target, minor = parse_request_line(line, target_bytes, trace=trace)
    found = parse_fields(data, end + 1, min(header_fields, MOST_FIELDS))
    if (len(data) if found is None else found[1]) > head_bytes:
        raise RefusedError(HeadError.HEAD_TOO_LARGE)
    if found is None:
        return None
    fields, size = found
    authority = find_authority(fields, in_target, minor)
    if fields.chunked and minor == 0:
        raise RefusedError(HeadError.BAD_TRANSFER_ENCODING)  # RFC 9112 6.1
    expected = [value.lower() for value in fields.values(b"expect")]
    if any(value != b"100-continue" for value in expected):
        raise RefusedError(HeadError.BAD_EXPECT)  # RFC 9110 10.1.1
    hops = find_hops(method, fields)
    path = target.partition(b"?")[0]
    if refuse_ambiguous and path.startswith(b"/") and paths.is_ambiguous(path):
        raise RefusedError(HeadError.AMBIGUOUS_PATH)
    return {
        "size": size,
        "method": method,
        "target": target,
        "path_len": len(path),
        "host": authority.host,
        "authority": authority.text,
        "port": authority.port,
        "minor": minor,
        "keep_alive": fields.keeps_alive(minor),
        "content_length": fields.content_length,
        "chunked": fields.chunked,
        "upgrade": minor == 1 and b"upgrade" in fields.options,  # RFC 9110 7.8
        "expect_continue": minor == 1 and bool(expected),
        "hops": hops,
        "te_trailers": minor == 1 and welcomes_trailers(fields),
        "asks_why": any(
            name.lower() == b"x-wsproxy-explain" and value == b"1" for name, value in fields.rows
        ),
        "nominates_others": bool(set(fields.options) - OWN_OPTIONS - {b"te"}),
        "fields": fields.as_rows(),
    }


def parse_response(
    data: bytes, *, head_bytes: int = 65536, header_fields: int = 300
) -> dict[str, object] | None:
    """What the head says; None while it is not whole. Raises RefusedError."""
    end = data.find(b"\n")
    if end < 0:
        if len(data) > head_bytes:
            raise RefusedError(HeadError.HEAD_TOO_LARGE)
        return None
    status = STATUS_LINE.fullmatch(check_line_end(data[:end]))
    if not status:
        raise RefusedError(HeadError.BAD_STATUS_LINE)
    minor = int(status[1])
    found = parse_fields(data, end + 1, min(header_fields, MOST_FIELDS))
    if (len(data) if found is None else found[1]) > head_bytes:
        raise RefusedError(HeadError.HEAD_TOO_LARGE)
    if found is None:
        return None
    fields, size = found
    if fields.chunked and minor == 0:
        raise RefusedError(HeadError.BAD_TRANSFER_ENCODING)
    return {
        "size": size,
        "status": int(status[3]),
        "status_text": status[2],
        "minor": minor,
        "keep_alive": fields.keeps_alive(minor),
        "content_length": fields.content_length,
        "chunked": fields.chunked,
        "fields": fields.as_rows(),
    }
