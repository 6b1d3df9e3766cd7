# The clone ids that a request carries, in the order in which they are tried.

from wsproxy._fast.decide.balance cimport Balancer
from wsproxy._fast.http.fields cimport Fields

cdef enum:
    # Clone ids looked at in one request. A session that moved through all members of a large cluster has one each;
    # what comes after is ignored, so that a hostile cookie costs a bounded time.
    MAX_CLONE_IDS = 64

cdef struct CloneId:
    const char* start           # points into the request head
    Py_ssize_t length

cdef struct CloneIds:
    int count
    CloneId at[64]
    const char* value           # of the AffinityCookie or path parameter that the first of them (but SSLJSESSION's) come from
    Py_ssize_t value_len        # 0: there is none
    bint in_cookie              # `value` is a cookie's
    bint has_list               # a separator stands in one of the values
    bint has_foreign            # ... of which one that is not of WebSphere's form

# Bytes of the separator at `p`, plain or percent-encoded; 0: none stands there.
cdef Py_ssize_t separator_length(const char* p, const char* end, char separator) noexcept nogil
# The first separator; `end`: there is none.
cdef const char* find_separator(const char* p, const char* end, char separator) noexcept nogil
# The next cookie of exactly this name (PLUGIN 3.3) from `at` on in a Cookie field, and its value without quotes; `at` moves
# to its end. False: there is none.
cdef bint next_cookie(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil
# The same for path parameters `;name=value`; a value ends at the next `;` or `/` or with the path.
cdef bint next_param(
    const char** at, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil

# The `.route` at the end of a session id, without the point; NULL: there is none. `length` is up to the first separator.
cdef const char* find_route(const char* value, Py_ssize_t length) noexcept nogil
# Whether what stands before the first separator is a cache id and a session id as WebSphere and Liberty write them.
cdef bint is_of_websphere(const char* value, Py_ssize_t length) noexcept nogil

# What stays the same of a session in this value while its cache id, route and clone ids change; its length, 0: nothing does.
# `cluster`: whose CloneIDs a route may be; None: nobody's.
cdef Py_ssize_t find_session_id(
    const char* value, Py_ssize_t length, char separator, Balancer cluster, const char** session_id
) noexcept nogil

cdef struct KnownCookie:
    # The first cookie of a name in a Cookie field, found by who came first: the access log and the decision want the same.
    const char* field           # the field's value; NULL: none is known. It borrows, as all of this does
    const char* name
    Py_ssize_t name_len
    const char* value           # ... and the rest as `next_cookie` says it
    const char* value_end
    const char* behind


cdef inline void note_cookie(
    KnownCookie* known, const char* field, const char* name, Py_ssize_t name_len, const char* value, const char* value_end,
    const char* behind,
) noexcept nogil:
    known.field = field
    known.name = name
    known.name_len = name_len
    known.value = value
    known.value_end = value_end
    known.behind = behind


# From now on there are none.
cdef inline void clear_clone_ids(CloneIds* ids) noexcept nogil:
    ids.count = 0
    ids.value_len = 0
    ids.has_list = False
    ids.has_foreign = False

# Appends the clone ids of one value: its route where that is a CloneID of `cluster`, then its list.
cdef void read_value(
    const char* value, Py_ssize_t length, char separator, Balancer cluster, bint in_cookie, CloneIds* out
) noexcept nogil
# The clone ids of every cookie called `name` (all of them, in order), then of `;url_id=` in the path. `known`: a cookie of
# this head that need not be looked for; NULL: there is none.
cdef void collect_clone_ids(
    Fields* fields, const char* target, Py_ssize_t path_len, bint has_params,
    const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
    char separator, Balancer cluster, KnownCookie* known, CloneIds* out,
) noexcept nogil
# The values that ``collect_clone_ids`` looks at, in the same order: for whoever wants to see them.
cdef list list_values(
    Fields* fields, const char* target, Py_ssize_t path_len, bint has_params,
    const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
)
