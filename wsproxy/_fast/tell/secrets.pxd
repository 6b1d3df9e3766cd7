# Names of secrets.

cdef inline bint is_word(char c) noexcept nogil:
    return c"0" <= c <= c"9" or c"a" <= (c | 0x20) <= c"z"


# Whether what has this name is a secret: a password, a key.
cdef bint names_secret(const char* p, Py_ssize_t length) noexcept nogil
# The same of the name that ends at `p`, within a text.
cdef bint ends_with_secret(const char* first, const char* p) noexcept nogil
