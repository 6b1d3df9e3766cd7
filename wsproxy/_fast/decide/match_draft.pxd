# What the rows of a RouteTable say, before `match` lays it out in C.

cdef enum:
    ANY_HOST = 0            # host number of `*`; literal hosts count from 1
    NO_VHOST_GROUP = 0      # key of the Routes without VirtualHostGroup
    NO_URI_GROUP = 0        # pattern of the Routes without UriGroup
    ROOT = 1                # the empty prefix, whose suffixes are `*.jsp` and the like

cdef enum Kind:             # single bits: a set of them fits a byte
    KIND_NONE = 0           # NO_URI_GROUP
    KIND_EXACT = 1          # the whole path
    KIND_PREFIX = 2         # a prefix that does not end with `/`
    KIND_FOLDER = 4         # a prefix that ends with `/`: looked for at slashes only
    KIND_SUFFIX = 8         # what follows the `*`; `prefix` numbers the pattern before it


cdef class Draft:
    cdef dict hosts             # literal host -> number
    cdef dict keys              # (host number, port or -1) -> {vhost group: first VirtualHost}
    cdef dict pattern_numbers   # (kind, prefix number or -1, text) -> number, ascending
    cdef list pattern_refs      # by number: {uri group: first Uri}
    cdef dict suffix_lengths    # prefix number -> {length}
    cdef dict host_classes      # groups -> number
    cdef dict uri_classes       # groups -> number
    cdef set used_uri_groups    # that some Route names
    cdef list host_class_of     # by number of a key
    cdef list uri_class_of      # by number of a pattern; -1: it stands in no group
    cdef dict offsets           # text -> where it stands in join_text()
    cdef list texts             # what join_text() joins
    cdef Py_ssize_t text_end    # how long they are together

    cdef int read(self, list vhost_groups, list uri_groups, list routes) except -1
    cdef int add_vhost(self, int group, int member, bytes host, int port) except -1
    cdef int add_uri(self, int group, int member, bytes uri) except -1
    cdef int pattern(self, int kind, int prefix, bytes text, Py_ssize_t start) except -1
    cdef int prefix(self, bytes text, Py_ssize_t start) except -1
    cdef Py_ssize_t place(self, bytes text) except -1
    cdef bytes join_text(self)
    cdef Py_ssize_t offset_of(self, bytes text) except -1
    cdef Py_ssize_t count_members(self, groups) except -1
    cdef int class_of(self, dict classes, dict groups) except -1
    cdef dict classes_by_group(self, dict classes)
