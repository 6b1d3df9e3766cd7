"""
Reads the rows of a RouteTable: numbers hosts, keys and patterns, and says in which groups each of them is.

Driven by ``match_tables`` while it builds; lives no longer. All in Python objects: paid for once a reload.
Must not know how matching works, only what a VirtualHost and a Uri mean (PLUGIN.md 1.5, 1.12).
"""

# Offsets into the text are 32 bit; the largest plugin-cfg.xml files known have a few MB.
MAX_TEXT_BYTES = 1 << 30


cdef class Draft:
    """What the rows say; see the fields in the pxd."""

    def __cinit__(self):
        self.hosts = {}
        self.keys = {(-1, -1): {-1: -1}}                # NO_VHOST_GROUP
        self.pattern_numbers = {(KIND_NONE, -1, b""): NO_URI_GROUP, (KIND_PREFIX, -1, b""): ROOT}
        self.pattern_refs = [{}, {}]
        self.suffix_lengths = {}
        self.host_classes = {}
        self.uri_classes = {}
        self.used_uri_groups = set()
        self.host_class_of = []
        self.uri_class_of = []
        self.offsets = {b"": 0}
        self.texts = []
        self.text_end = 0

    cdef int read(self, list vhost_groups, list uri_groups, list routes) except -1:
        """Takes in all rows; groups that no Route names are left out."""
        cdef int group, member
        cdef bint used
        cdef set used_vhost_groups = {row[0] for row in routes}
        self.used_uri_groups = {row[1] for row in routes}
        for group, hosts in enumerate(vhost_groups):
            if group in used_vhost_groups:
                for member, (host, port) in enumerate(hosts):
                    self.add_vhost(group, member, <bytes?>host, port)
        for group, uris in enumerate(uri_groups):
            used = group in self.used_uri_groups
            for member, (uri, cookie, url_id) in enumerate(uris):
                self.place(<bytes?>cookie)
                self.place(<bytes?>url_id)
                if used:
                    self.add_uri(group, member, <bytes?>uri)
        if -1 in self.used_uri_groups:
            self.pattern_refs[NO_URI_GROUP] = {-1: -1}
        for groups in self.keys.values():
            self.host_class_of.append(self.class_of(self.host_classes, groups))
        for groups in self.pattern_refs:
            self.uri_class_of.append(self.class_of(self.uri_classes, groups) if groups else -1)
        return 0

    cdef int add_vhost(self, int group, int member, bytes host, int port) except -1:
        cdef int number = ANY_HOST
        if port < -1:
            raise ValueError(f"found port {port}; allowed is 0 or more, and -1 for any")
        if host != b"*":
            host = host.lower()
            self.place(host)
            number = self.hosts.setdefault(host, len(self.hosts) + 1)
        (<dict>self.keys.setdefault((number, port), {})).setdefault(group, member)
        return 0

    cdef int add_uri(self, int group, int member, bytes uri) except -1:
        """Adds the patterns that a Uri stands for: two for ``/x/*``, which also matches ``/x`` (PQ67476)."""
        cdef int stars = uri.count(b"*")
        cdef int number
        cdef Py_ssize_t start
        cdef bytes before, after
        cdef list numbers = []
        start = self.place(uri)
        if stars > 1:
            return 0
        if stars == 0:
            numbers.append(self.pattern(KIND_EXACT, -1, uri, start))
        else:
            before, _, after = uri.partition(b"*")
            number = self.prefix(before, start)
            if after:
                self.suffix_lengths.setdefault(number, set()).add(len(after))
                number = self.pattern(KIND_SUFFIX, number, after, start + len(before) + 1)
            elif before.endswith(b"/"):
                numbers.append(self.pattern(KIND_EXACT, -1, before[: len(before) - 1], start))
            numbers.append(number)
        for each in numbers:
            (<dict>self.pattern_refs[each]).setdefault(group, member)
        return 0

    cdef int prefix(self, bytes text, Py_ssize_t start) except -1:
        """The number of the pattern that is this text and anything after it."""
        return self.pattern(KIND_FOLDER if text.endswith(b"/") else KIND_PREFIX, -1, text, start)

    cdef int pattern(self, int kind, int prefix, bytes text, Py_ssize_t start) except -1:
        """The number of a pattern, new or known; its text stands at ``start``, for one."""
        cdef int number = self.pattern_numbers.setdefault((kind, prefix, text), len(self.pattern_refs))
        if number == len(self.pattern_refs):
            self.pattern_refs.append({})
            self.offsets.setdefault(text, start)
        return number

    cdef Py_ssize_t place(self, bytes text) except -1:
        """Where this text stands in join_text(); it is added if it is new."""
        cdef Py_ssize_t start
        found = self.offsets.get(text)
        if found is not None:
            return found
        start = self.text_end
        self.text_end += len(text)
        if self.text_end > MAX_TEXT_BYTES:
            raise ValueError(
                f"found more than {MAX_TEXT_BYTES} bytes of host names, Uris and affinity names; that many are allowed"
            )
        self.texts.append(text)
        self.offsets[text] = start
        return start

    cdef bytes join_text(self):
        """All literal texts in one; a text that begins or ends another one may stand in that."""
        return b"".join(self.texts)

    cdef Py_ssize_t offset_of(self, bytes text) except -1:
        return self.offsets[text]

    cdef Py_ssize_t count_members(self, groups) except -1:
        """How many members all these collections have together."""
        return sum(map(len, groups))

    cdef int class_of(self, dict classes, dict groups) except -1:
        """The number of the class of everything that stands in exactly these groups."""
        return classes.setdefault(tuple(sorted(groups)), len(classes))

    cdef dict classes_by_group(self, dict classes):
        """group -> the classes that it belongs to."""
        cdef dict by_group = {}
        for groups, number in classes.items():
            for group in groups:
                by_group.setdefault(group, []).append(number)
        return by_group
