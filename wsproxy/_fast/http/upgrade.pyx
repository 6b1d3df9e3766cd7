"""
Which upgrades of a connection go on (RFC 9110 7.8): those that the settings allow, and never another HTTP.

Driven by ``intake`` with requests and by ``upstream`` with 101 answers, so rarely. Both fields are hop-by-hop: what
is not passed here, ``rewrite`` leaves out, and the server sees an ordinary request.
"""

from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.fields cimport (
    FIELD_CONNECTION, FIELD_HOP_BY_HOP, FIELD_OTHER, TCHAR, Field, Fields, Limits, all_of, equals_ignoring_case, parse_fields,
)
from wsproxy._fast.http.scratch cimport replace_line

# Through a tunnel of these, requests would reach a server that nobody routed, checked, or freed of private headers: the
# proxy would be a way around itself (h2c smuggling). TLS would hide them. Names that begin so, too: servers know h2c-14.
NEVER = (b"h2", b"http", b"tls", b"spdy")

cdef const char* CONNECTION = "Connection: Upgrade\r\n"


cdef Field* find_upgrade(Fields* fields) noexcept nogil:
    """The Upgrade field; NULL where there is none or more than one."""
    cdef Field* found = NULL
    cdef int i
    for i in range(fields.count):
        if (
            fields.at[i].kind == FIELD_HOP_BY_HOP and fields.at[i].name_len == 7
            and equals_ignoring_case(fields.at[i].line, "upgrade", 7)
        ):
            if found != NULL:
                return NULL
            found = &fields.at[i]
    return found


cdef frozenset read_allowed(bytes value, frozenset protocols):
    """The names of this list where all are of ``protocols``, else None; "*" there stands for any that NEVER leaves."""
    cdef set names = set()
    cdef bytes name, version
    for protocol in value.lower().strip(b" \t").split(b","):
        name, slash, version = protocol.strip(b" \t").partition(b"/")
        # Both are tokens (RFC 9110 7.8): in what is none, a server may find another protocol than we do.
        if not name or not all_of(name, len(name), TCHAR) or name.startswith(NEVER):
            return None
        if slash and not (version and all_of(version, len(version), TCHAR)):
            return None
        if name.decode() not in protocols and "*" not in protocols:
            return None
        names.add(name)
    return frozenset(names)


def is_protocol(str name not None) -> bool:
    """Whether settings may name it: "*", or a token (RFC 9110 5.6.2) that NEVER leaves."""
    cdef bytes text = name.lower().encode()
    return name == "*" or (len(text) > 0 and all_of(text, len(text), TCHAR) and not text.startswith(NEVER))


cdef frozenset pass_upgrade(Fields* fields, frozenset protocols):
    cdef Field* upgrade = find_upgrade(fields)
    cdef frozenset names = None if upgrade == NULL else read_allowed(upgrade.value[:upgrade.value_len], protocols)
    cdef int i
    if names is None:
        return None
    for i in range(fields.count):
        if fields.at[i].kind == FIELD_CONNECTION:
            # Once, and nothing but this: other options are between the sender and us.
            replace_line(fields, &fields.at[i], CONNECTION, 21)
            upgrade.kind = FIELD_OTHER
            return names
    return None


def passes_upgrade(bytes lines not None, frozenset protocols not None) -> bool:
    """For tests: whether these field lines (each with CR LF, an empty one at the end) pass as an upgrade."""
    cdef Limits limits = Limits(1 << 20, 1 << 20, 300, False, False)
    cdef Fields fields
    cdef ExactCopy copy = ExactCopy(lines)
    if parse_fields(copy.at, copy.at + copy.length, &limits, &fields) <= 0:
        raise ValueError(f"found {lines!r}; allowed are whole and valid field lines")
    return fields.connection_upgrade and pass_upgrade(&fields, protocols) is not None
