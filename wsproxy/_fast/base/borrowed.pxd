# What makes borrowed memory checkable: in builds with WSPROXY_CHECKED (debug, ASAN, fuzz; see setup.py) bytes that are gone
# cannot be read by accident. In the product each of these is nothing, or the plain call of the C library.

cdef extern from *:
    """
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>

    #ifndef WSPROXY_CHECKED
    #define WSPROXY_CHECKED 0
    #endif

    #if WSPROXY_CHECKED
    #define WS_GONE 0xDB  /* as a pointer it is one that nobody has */

    #ifdef __has_feature
    #if __has_feature(address_sanitizer)
    #define WS_ASAN 1
    #endif
    #endif
    #ifdef __SANITIZE_ADDRESS__
    #define WS_ASAN 1
    #endif

    #ifdef WS_ASAN
    #include <sanitizer/asan_interface.h>
    #define ws_show(at, length) ASAN_UNPOISON_MEMORY_REGION(at, length)
    #define ws_hide(at, length) ASAN_POISON_MEMORY_REGION(at, length)
    #else
    #define ws_show(at, length) ((void)0)
    #define ws_hide(at, length) memset(at, WS_GONE, length)
    #endif

    #define ws_spoil(at, length) memset(at, WS_GONE, length)

    static inline void ws_free(void *at, size_t length) {
        if (at != NULL) memset(at, WS_GONE, length);
        free(at);
    }

    /* Always moves: who kept a pointer into the old place learns of it with the first test, not with the unlucky one. */
    static inline void *ws_move(void *at, size_t length, size_t wanted) {
        void *moved = malloc(wanted);
        if (moved == NULL) return NULL;
        if (length) memcpy(moved, at, length < wanted ? length : wanted);
        ws_free(at, length);
        return moved;
    }

    static inline void ws_assert_let_go(int let_go, const char *what) {
        if (let_go) return;
        fprintf(stderr, "wsproxy: %s outlives the bytes that it points into: see _fast/decide/decide.pyx\\n", what);
        abort();
    }
    #else
    #define ws_show(at, length) ((void)0)
    #define ws_hide(at, length) ((void)0)
    #define ws_spoil(at, length) ((void)0)
    #define ws_free(at, length) free(at)
    #define ws_move(at, length, wanted) realloc(at, wanted)
    #define ws_assert_let_go(let_go, what) ((void)(let_go), (void)(what))
    #endif
    """
    # 0 in the product.
    const int WSPROXY_CHECKED
    # Bytes that stay where they are, while nobody may read them; and from when on somebody may.
    void ws_hide(void* at, size_t length) noexcept nogil
    void ws_show(void* at, size_t length) noexcept nogil
    # Makes what pointers and lengths stand in useless.
    void ws_spoil(void* at, size_t length) noexcept nogil
    # free, and realloc; `length`: bytes that were there.
    void ws_free(void* at, size_t length) noexcept nogil
    void* ws_move(void* at, size_t length, size_t wanted) noexcept nogil
    # Ends the process where something still borrows.
    void ws_assert_let_go(bint let_go, const char* what) noexcept nogil
