"""
Names of secrets: of fields, of parameters, of whatever else stands before a "=".

Used by ``mask``. Pure. Nearly all names have nothing of these words, and most of them not even two letters in a row.
"""

from libc.stdint cimport uint32_t, uint64_t
from wsproxy._fast.http.fields cimport looks_like

cdef extern from *:
    """
    #include <stddef.h>

    /* In a name: what it names is a secret. */
    #define WS_SECRET(text) {text, sizeof text - 1}
    static const struct ws_secret { const char *text; size_t length; } ws_secrets[] = {
        WS_SECRET("token"), WS_SECRET("secret"), WS_SECRET("passw"), WS_SECRET("passphrase"), WS_SECRET("pwd"),
        WS_SECRET("authoriz"), WS_SECRET("credential"), WS_SECRET("apikey"), WS_SECRET("api-key"), WS_SECRET("access-key"),
        WS_SECRET("subscription-key"), {0, 0}
    };
    """
    struct ws_secret:
        const char* text
        size_t length
    const ws_secret* ws_secrets

cdef struct Following:
    uint32_t second
    uint32_t third

# A bit for each byte of a name in a query: letters, digits, and what stands between them; brackets, as in user[password].
cdef uint64_t NAMES[4]
# By the last five bits of the first letter of a secret's word, those of the two that follow, as bits: few words are compared.
# Both tables are small, because each line of the log needs them, and the kernel takes the caches between two lines.
cdef Following SECRETS[32]


cdef void fill_tables() noexcept:
    cdef int c
    cdef const ws_secret* word = ws_secrets
    for c in range(256):
        if is_word(<char>c) or c == c"-" or c == c"_" or c == c"." or c == c"[" or c == c"]":
            NAMES[c >> 6] |= <uint64_t>1 << (c & 63)
    note_secret(b"auth")
    while word.text != NULL:
        note_secret(word.text)
        word += 1


cdef void note_secret(const char* word) noexcept:
    SECRETS[word[0] & 31].second |= <uint32_t>1 << (word[1] & 31)
    SECRETS[word[0] & 31].third |= <uint32_t>1 << (word[2] & 31)


cdef inline uint32_t may_begin(unsigned char first, unsigned char second, unsigned char third) noexcept nogil:
    """In the lowest bit, whether the word of a secret could begin with these letters."""
    cdef Following following = SECRETS[first & 31]
    return following.second >> (second & 31) & following.third >> (third & 31)


fill_tables()


cdef bint names_secret(const char* p, Py_ssize_t length) noexcept nogil:
    """Whether what has this name is a secret: a password, a key."""
    cdef Py_ssize_t i
    cdef const ws_secret* word
    for i in range(length - 2):  # the shortest one has three letters
        if not may_begin(p[i], p[i + 1], p[i + 2]) & 1:
            continue
        word = ws_secrets
        while word.text != NULL:
            if (
                word.text[0] == (p[i] | 0x20) and <Py_ssize_t>word.length <= length - i
                and looks_like(p + i, word.text, word.length)
            ):
                return True
            word += 1
        if (
            length - i >= 4 and (p[i] | 0x20) == c"a" and looks_like(p + i, "auth", 4)
            and (i == 0 or not is_word(p[i - 1])) and (length - i == 4 or not is_word(p[i + 4]))
        ):
            return True
    return False


cdef bint begins_bracket(const char* p, const char* end) noexcept nogil:
    """Whether a percent sign stands before ``p``: that of a bracket; it may be encoded several times."""
    while end - p >= 2 and p[0] == c"2" and p[1] == c"5":
        p += 2
    return end - p >= 2 and p[0] == c"5" and ((p[1] | 0x20) == c"b" or (p[1] | 0x20) == c"d")


cdef bint ends_with_secret(const char* first, const char* p) noexcept nogil:
    """The same of the name that ends here, within a text."""
    cdef const char* begin = p
    cdef unsigned char c
    cdef unsigned char second = 0
    cdef unsigned char third = 0
    cdef uint32_t likely = 0
    while begin > first:
        c = (begin - 1)[0]
        if not NAMES[c >> 6] >> (c & 63) & 1 and not (c == c"%" and begins_bracket(begin, p)):
            break
        likely |= may_begin(c, second, third)
        third = second
        second = c
        begin -= 1
    return likely & 1 and names_secret(begin, p - begin)
