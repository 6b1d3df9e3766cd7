"""
``[[edge]]``: which tables fit a request, and what they do with it: deny, redirect, files, maintenance, fields of answers.

Made by ``dataplane.edges`` for a View, asked by ``proxy.intake`` once a request, and by ``explain``. Without tables there
is no EdgeTable, and nobody asks. Of the tables that fit, the first in the file that has a duty does it; fields are joined.

The path is compared decoded and tidied, as httpd's Location does: a server that decodes it must not see what was denied.
Knows no socket; allocates nothing but what it answers with.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.decide.compression cimport Compression
from wsproxy._fast.http.fields cimport Field, Fields, Limits, equals_ignoring_case, no_limits
from wsproxy._fast.http.head cimport RequestHead, ResponseHead, parse_request
from wsproxy._fast.http.origin cimport Origin, TrustedProxies, client_is_secure, client_of
from wsproxy._fast.http.paths cimport READINGS, TIDIED, is_ambiguous, read_path, tidy_path
from wsproxy._fast.http.scratch cimport Scratch, put, reserve

cdef extern from *:
    """
    #define ws_lowest_bit(word) __builtin_ctzll(word)
    """
    int ws_lowest_bit(uint64_t word) noexcept nogil

cdef enum:
    HTTP_PORT = 80
    HTTPS_PORT = 443
    FIRST_ERROR = 400
    LAST_ERROR = 599
    # What the writer of heads adds besides fields, as in `proxy.explained`.
    ADDED_BY_REWRITE = 2048


cdef class Block:
    """Memory that lives as long as its Edge."""

    cdef void* at

    def __cinit__(self, Py_ssize_t size):
        self.at = PyMem_Malloc(max(size, 1))
        if self.at == NULL:
            raise MemoryError
        memset(self.at, 0, size)

    def __dealloc__(self):
        PyMem_Free(self.at)


cdef inline bint is_same_text(const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) noexcept nogil:
    return a_len == b_len and memcmp(a, b, a_len) == 0


cdef class Edge:
    """
    One table, as ``dataplane.edges`` spells it.

    ``hosts`` are lower case, ``*.`` in front; ``paths`` (before, after or None); ``clusters`` indexes, None: any. ``fields``:
    (name in lower case, line or b"", whether those of the server go). ``allow`` None: everybody.
    """

    def __init__(
        self, *, tuple ports=(), bytes local_host=b"", EdgeScheme scheme=ANY_SCHEME, tuple hosts=(), tuple paths=(),
        tuple clusters=None, bint redirects=False, bint ends_redirects=False, EdgeScheme to=ANY_SCHEME, bytes to_host=b"",
        int to_port=0, bytes to_path=b"", int status=308, TrustedProxies allow=None, TrustedProxies deny=None,
        tuple fields=(), dict pages=None, tuple intercepts=(), bint has_maintenance=False, bint maintenance_on=False,
        tuple maintenance=None, TrustedProxies maintenance_allow=None, int retry_after_s=0, bint has_files=False,
        bint has_compress=False, Compression compression=None,
    ):
        self.kept = [local_host, hosts, paths, to_host, to_path, fields]
        self.blocks = []
        self.ports = self.numbers(ports)
        self.port_count = <int>len(ports)
        self.local_host = local_host
        self.scheme = scheme
        self.clusters = self.numbers(clusters or ())
        self.cluster_count = -1 if clusters is None else <int>len(clusters)
        self.take_hosts(hosts)
        self.take_paths(paths)
        self.redirects = redirects
        self.ends_redirects = ends_redirects
        self.to = to
        self.to_host = to_host
        self.to_port = to_port
        self.to_path = to_path
        self.status = status
        self.has_allow = allow is not None
        self.allow = TrustedProxies() if allow is None else allow
        self.deny = TrustedProxies() if deny is None else deny
        self.take_fields(fields)
        self.pages = pages or {}
        self.take_intercepts(intercepts)
        self.has_maintenance = has_maintenance
        self.maintenance_on = maintenance_on
        self.maintenance = maintenance
        self.maintenance_allow = TrustedProxies() if maintenance_allow is None else maintenance_allow
        self.retry_after_s = retry_after_s
        self.has_files = has_files
        self.has_compress = has_compress
        self.compression = compression

    cdef void* room(self, Py_ssize_t size) except NULL:
        cdef Block block = Block(size)
        self.blocks.append(block)
        return block.at

    cdef int* numbers(self, tuple given) except NULL:
        cdef int* at = <int*>self.room(len(given) * sizeof(int))
        cdef int i
        for i in range(<int>len(given)):
            at[i] = given[i]
        return at

    cdef int take_hosts(self, tuple hosts) except -1:
        cdef bytes text
        self.hosts = <EdgeName*>self.room(len(hosts) * sizeof(EdgeName))
        for text in hosts:
            self.hosts[self.host_count].is_suffix = text.startswith(b"*.")
            self.hosts[self.host_count].text = <const char*>text + self.hosts[self.host_count].is_suffix
            self.hosts[self.host_count].length = len(text) - self.hosts[self.host_count].is_suffix
            self.host_count += 1
        return 0

    cdef int take_paths(self, tuple paths) except -1:
        cdef bytes before, after
        cdef EdgePath* path
        self.paths = <EdgePath*>self.room(len(paths) * sizeof(EdgePath))
        for before, after in paths:
            path = &self.paths[self.path_count]
            path.before = <const char*>before
            path.before_len = len(before)
            path.has_star = after is not None
            if after is not None:
                path.after = <const char*>after
                path.after_len = len(after)
            self.path_count += 1
        return 0

    cdef int take_fields(self, tuple fields) except -1:
        cdef bytes name, line
        cdef EdgeField* field
        self.fields = <EdgeField*>self.room(len(fields) * sizeof(EdgeField))
        for name, line, removes in fields:
            field = &self.fields[self.field_count]
            field.name = <const char*>name
            field.name_len = len(name)
            field.line = <const char*>line
            field.line_len = len(line)
            field.removes = removes
            self.field_count += 1
        return 0

    cdef int take_intercepts(self, tuple statuses) except -1:
        cdef int status
        for status in statuses:
            if not FIRST_ERROR <= status <= LAST_ERROR or status not in self.pages:
                raise ValueError(f"found status {status}; allowed are {FIRST_ERROR} to {LAST_ERROR}, with a page")
            self.intercepts[(status - FIRST_ERROR) >> 6] |= <uint64_t>1 << ((status - FIRST_ERROR) & 63)
        return 0

    # --- selection ------------------------------------------------------------------------------------------------

    cdef bint fits(self, EdgeAsked* asked) noexcept:
        cdef bint is_secure = client_is_secure(asked.origin)
        cdef int i
        if not self.fits_port(asked):
            return False
        if self.scheme != ANY_SCHEME and is_secure != (self.scheme == HTTPS_ONLY):
            return False
        if self.cluster_count >= 0:
            for i in range(self.cluster_count):
                if self.clusters[i] == asked.cluster:
                    break
            else:
                return False
        return self.fits_host(asked) and self.fits_path(asked)

    cdef bint fits_port(self, EdgeAsked* asked) noexcept:
        cdef int i
        if self.port_count == 0:
            return True
        for i in range(self.port_count):
            if self.ports[i] == asked.local_port:
                break
        else:
            return False
        return not len(self.local_host) or is_same_text(
            self.local_host, len(self.local_host), asked.origin.local_host, asked.origin.local_host_len
        )

    cdef bint fits_host(self, EdgeAsked* asked) noexcept:
        cdef const char* host
        cdef Py_ssize_t length
        cdef EdgeName* name
        cdef int i
        if self.host_count == 0:
            return True
        if asked.head == NULL:
            return False
        host = asked.head.host if asked.head.host != NULL else asked.origin.local_host
        length = asked.head.host_len if asked.head.host != NULL else asked.origin.local_host_len
        if length > 1 and host[length - 1] == c".":
            length -= 1  # the name is whole, as Routes have it
        for i in range(self.host_count):
            name = &self.hosts[i]
            if name.is_suffix:
                if length > name.length and equals_ignoring_case(host + length - name.length, name.text, name.length):
                    return True
            elif length == name.length and equals_ignoring_case(host, name.text, length):
                return True
        return False

    cdef bint fits_path(self, EdgeAsked* asked) noexcept:
        cdef EdgePath* path
        cdef int i
        if self.path_count == 0:
            return True
        if asked.path == NULL:
            return False
        for i in range(self.path_count):
            path = &self.paths[i]
            if not path.has_star:
                if is_same_text(asked.path, asked.path_len, path.before, path.before_len):
                    return True
                continue
            if path.after_len == 0 and path.before_len > 1 and path.before[path.before_len - 1] == c"/":
                # "/app/*" takes "/app", too, as the Uris of plugin-cfg.xml do.
                if is_same_text(asked.path, asked.path_len, path.before, path.before_len - 1):
                    return True
            if (
                asked.path_len >= path.before_len + path.after_len
                and memcmp(asked.path, path.before, path.before_len) == 0
                and memcmp(asked.path + asked.path_len - path.after_len, path.after, path.after_len) == 0
            ):
                return True
        return False

    # --- duties ---------------------------------------------------------------------------------------------------

    cdef bint denies(self, const char* client, Py_ssize_t length) noexcept:
        if self.deny.have_text(client, length):
            return True
        return self.has_allow and not self.allow.have_text(client, length)

    cdef bint sends_on(self, EdgeAsked* asked) noexcept:
        """Whether the redirect leads elsewhere than to where the request is: else it would lead there for ever."""
        cdef RequestHead* head = asked.head
        cdef bint is_secure = client_is_secure(asked.origin)
        if self.to != ANY_SCHEME and is_secure != (self.to == HTTPS_ONLY):
            return True
        if len(self.to_host) and (head.host == NULL or not self.is_own_host(head)):
            return True
        if len(self.to_path) and not is_same_text(self.to_path, len(self.to_path), head.target, head.target_len):
            return True
        return self.to == ANY_SCHEME and self.to_port != 0 and self.to_port != asked.port

    cdef bint is_own_host(self, RequestHead* head) noexcept:
        cdef const char* own = self.to_host
        cdef Py_ssize_t length = len(self.to_host)
        if own[0] == c"[":  # as it is in a head, without brackets
            own += 1
            length -= 2
        return length == head.host_len and equals_ignoring_case(head.host, own, length)


cdef class EdgeTable:
    """All tables of one configuration, in the order of the file."""

    def __init__(self, tuple edges not None):
        cdef Edge edge
        cdef int i
        if len(edges) > MOST_EDGES:
            raise ValueError(f"found {len(edges)} tables; allowed are up to {MOST_EDGES}")
        self.edges = edges
        for i, edge in enumerate(edges):
            self.at[i] = <void*>edge
            self.count += 1
            self.note(edge, <uint64_t>1 << i)
        self.find_earlier()

    cdef int note(self, Edge edge, uint64_t bit) except -1:
        if edge.redirects or edge.ends_redirects or edge.has_files:
            self.answers |= bit
        if edge.field_count:
            self.headers |= bit
        if edge.has_allow or edge.deny.count:
            self.access |= bit
        if edge.pages:
            self.error_pages |= bit
        if edge.intercepts[0] or edge.intercepts[1] or edge.intercepts[2] or edge.intercepts[3]:
            self.intercepts |= bit
        if edge.has_maintenance:
            self.maintenance |= bit
        if edge.has_compress:
            self.compress |= bit
        if edge.path_count:
            self.by_path |= bit
        if edge.cluster_count >= 0:
            self.by_cluster |= bit
        return 0

    cdef int find_earlier(self) except -1:
        """For each field: which tables before this one decide about the same name."""
        cdef dict said = {}
        cdef Edge edge
        cdef EdgeField* field
        cdef int i, j
        for i in range(self.count):
            edge = <Edge>self.at[i]
            for j in range(edge.field_count):
                field = &edge.fields[j]
                field.earlier = said.get(field.name[:field.name_len], 0)
            for j in range(edge.field_count):
                field = &edge.fields[j]
                if field.removes:
                    name = field.name[:field.name_len]
                    said[name] = said.get(name, 0) | (<uint64_t>1 << i)
        return 0

    cdef uint64_t select(self, EdgeAsked* asked, char* scratch) noexcept:
        cdef uint64_t mask = 0
        cdef int i
        asked.path = NULL
        if self.by_path and asked.head != NULL:
            asked.path = scratch
            asked.path_len = tidy_path(asked.head.target, asked.head.path_len, scratch)
        for i in range(self.count):
            if (<Edge>self.at[i]).fits(asked):
                mask |= <uint64_t>1 << i
        return mask

    cdef bint is_denied(
        self, uint64_t mask, EdgeAsked* asked, char* scratch, const char* client, Py_ssize_t length, int* table
    ) noexcept:
        """
        Who may not have what the path is to one server must not get it by a spelling that only that server reads so: where
        servers differ, the path is asked for in every reading, and each of them must be allowed.
        """
        cdef RequestHead* head = asked.head
        cdef int reading
        table[0] = self.first(mask, self.access)
        if table[0] >= 0 and (<Edge>self.at[table[0]]).denies(client, length):
            return True
        if scratch == NULL or not self.access & self.by_path or head == NULL or head.target[0] != c"/":
            return False
        if not is_ambiguous(head.target, head.path_len):
            return False
        for reading in range(READINGS):
            if reading == TIDIED:
                continue
            asked.path = scratch
            asked.path_len = read_path(head.target, head.path_len, reading, scratch)
            table[0] = self.first_access(asked)
            if table[0] >= 0 and (<Edge>self.at[table[0]]).denies(client, length):
                return True
        return False

    cdef int first_access(self, EdgeAsked* asked) noexcept:
        cdef uint64_t left = self.access
        cdef int at
        while left:
            at = ws_lowest_bit(left)
            left &= left - 1
            if (<Edge>self.at[at]).fits(asked):
                return at
        return -1

    cdef int first(self, uint64_t mask, uint64_t duty) noexcept:
        mask &= duty
        return ws_lowest_bit(mask) if mask else -1

    cdef int page_for(self, uint64_t mask, int status) except -2:
        cdef uint64_t left = mask & self.error_pages
        cdef int at
        while left:
            at = ws_lowest_bit(left)
            left &= left - 1
            if status in (<Edge>self.at[at]).pages:
                return at
        return -1

    cdef int page_instead(self, uint64_t mask, int status) noexcept:
        cdef uint64_t left = mask & self.intercepts
        cdef int bit = status - FIRST_ERROR
        cdef int at
        if not FIRST_ERROR <= status <= LAST_ERROR:
            return -1
        while left:
            at = ws_lowest_bit(left)
            left &= left - 1
            if (<Edge>self.at[at]).intercepts[bit >> 6] >> (bit & 63) & 1:
                return at
        return -1

    cdef int retry_after(self, uint64_t mask) noexcept:
        cdef int at = self.first(mask, self.maintenance)
        return 0 if at < 0 else (<Edge>self.at[at]).retry_after_s

    cdef EdgeAct judge(self, uint64_t mask, EdgeAsked* asked, bint is_maintained, char* scratch, int* table) noexcept:
        cdef Py_ssize_t length
        cdef const char* client = client_of(asked.origin, &length)
        cdef uint64_t left = mask & self.answers
        cdef Edge edge
        if self.is_denied(mask, asked, scratch, client, length, table):
            return EDGE_DENIES
        while left:
            table[0] = ws_lowest_bit(left)
            left &= left - 1
            edge = <Edge>self.at[table[0]]
            if edge.ends_redirects:
                break
            if edge.has_files:
                return EDGE_FILES
            if edge.sends_on(asked):
                return EDGE_NO_HOST if asked.head.host == NULL and not len(edge.to_host) else EDGE_REDIRECTS
        table[0] = self.first(mask, self.maintenance)
        if table[0] < 0:
            return EDGE_MAINTENANCE if is_maintained else EDGE_PASSES
        edge = <Edge>self.at[table[0]]
        if (is_maintained or edge.maintenance_on) and not edge.maintenance_allow.have_text(client, length):
            return EDGE_MAINTENANCE
        return EDGE_PASSES

    cdef bytes location(self, int table, EdgeAsked* asked):
        """An absolute address always: a path that begins with two slashes is no host of anybody's."""
        cdef Edge edge = <Edge>self.at[table]
        cdef RequestHead* head = asked.head
        cdef bint is_secure = client_is_secure(asked.origin)
        cdef bint to_secure = is_secure if edge.to == ANY_SCHEME else edge.to == HTTPS_ONLY
        cdef int port = edge.to_port
        cdef bytes host = edge.to_host
        cdef bytes path = edge.to_path
        if not host:
            host = head.host[:head.host_len]
            if b":" in host:
                host = b"[%b]" % host
            if port == 0 and to_secure == is_secure and head.port >= 0:
                port = head.port
        if not path:
            path = head.target[:head.target_len] if head.target[0] == c"/" else b"/"  # OPTIONS *
        if port == 0 or port == (HTTPS_PORT if to_secure else HTTP_PORT):
            return b"%b://%b%b" % (b"https" if to_secure else b"http", host, path)
        return b"%b://%b:%d%b" % (b"https" if to_secure else b"http", host, port, path)

    # --- fields of answers ----------------------------------------------------------------------------------------

    cdef int edit_answer(self, uint64_t mask, Scratch* scratch, ResponseHead* head) noexcept:
        cdef uint64_t left = mask & self.headers
        cdef Py_ssize_t length = 0
        cdef Edge edge
        cdef EdgeField* field
        cdef char* at
        cdef char* p
        cdef int i
        while left:
            edge = <Edge>self.at[ws_lowest_bit(left)]
            left &= left - 1
            for i in range(edge.field_count):
                field = &edge.fields[i]
                if field.earlier & mask:
                    continue
                length += field.line_len
                if field.removes:
                    drop_fields(&head.fields, field)
        if length == 0:
            return 0
        at = reserve(scratch, length + head.fields.more_len)
        if at == NULL:
            return -1
        p = at
        if head.fields.more_len:
            p = put(p, head.fields.more, head.fields.more_len)
        left = mask & self.headers
        while left:
            edge = <Edge>self.at[ws_lowest_bit(left)]
            left &= left - 1
            for i in range(edge.field_count):
                field = &edge.fields[i]
                if field.line_len and not field.earlier & mask:
                    p = put(p, field.line, field.line_len)
        head.fields.more = at
        head.fields.more_len = p - at
        return 0

    cdef bytes edit_own(self, uint64_t mask, bytes answer):
        cdef uint64_t left = mask & self.headers
        cdef bytes head, end, body
        cdef list lines
        cdef Edge edge
        cdef EdgeField* field
        cdef int i
        if not left:
            return answer
        head, end, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        while left:
            edge = <Edge>self.at[ws_lowest_bit(left)]
            left &= left - 1
            for i in range(edge.field_count):
                field = &edge.fields[i]
                if field.earlier & mask:
                    continue
                if field.removes:
                    lines = lines[:1] + without(lines[1:], field.name[:field.name_len] + b":")
                if field.line_len:
                    lines.append(field.line[:field.line_len - 2])
        return b"\r\n".join(lines) + end + body


cdef list without(list lines, bytes name):
    return [line for line in lines if not (<bytes>line)[:len(name)].lower() == name]


cdef void drop_fields(Fields* fields, EdgeField* gone) noexcept nogil:
    cdef Field* field
    cdef int i
    for i in range(fields.count):
        field = &fields.at[i]
        if field.name_len == <uint32_t>gone.name_len and equals_ignoring_case(field.line, gone.name, gone.name_len):
            field.dropped = True


# --- for explain and tests: the same questions as Python functions ----------------------------------------------------

def ask_edges(
    EdgeTable table not None,
    bytes data not None,
    *,
    bytes peer not None=b"192.0.2.1",
    bytes local_host not None=b"127.0.0.1",
    int local_port=80,
    bint secure=False,
    int cluster=-1,
    bint is_maintained=False,
) -> tuple:
    """
    (tables that fit, a bit each; ``EdgeAct``; the table that says so, -1: none; its Location) for the request head ``data``.

    ``peer`` empty: nobody knows who asks, and lists of who may are passed over. ``is_maintained``: by an operator's word.
    Where it is no head, the tables that fit any request that came so; nothing becomes of it here.
    """
    cdef ExactCopy copy = ExactCopy(data)
    cdef ExactCopy scratch = ExactCopy(bytes(len(data)))
    cdef Limits limits
    cdef RequestHead head
    cdef Origin origin
    cdef EdgeAsked asked
    cdef EdgeAct act
    cdef uint64_t mask
    cdef int at = -1
    memset(&origin, 0, sizeof(origin))
    memset(&asked, 0, sizeof(asked))
    limits = no_limits()
    origin.local_host, origin.local_host_len = <const char*>local_host, len(local_host)
    origin.peer, origin.peer_len = <const char*>peer, len(peer)
    origin.secure = secure
    asked.origin = &origin
    asked.local_port = local_port
    asked.cluster = cluster
    if parse_request(copy.at, copy.length, &limits, &head) <= 0:
        return table.select(&asked, scratch.at), EDGE_PASSES, -1, b""
    asked.head = &head
    asked.port = head.port if head.port >= 0 else HTTPS_PORT if secure else HTTP_PORT
    mask = table.select(&asked, scratch.at)
    if peer:
        act = table.judge(mask, &asked, is_maintained, scratch.at, &at)
    else:
        act = table.judge(mask & ~table.access, &asked, is_maintained, NULL, &at)
    return mask, act, at if act != EDGE_PASSES else -1, table.location(at, &asked) if act == EDGE_REDIRECTS else b""


def edit_own_answer(EdgeTable table not None, uint64_t mask, bytes answer not None) -> bytes:
    """An answer of our own with the fields that these tables set; for tests."""
    return table.edit_own(mask, answer)
