# A file or folder below a folder.

cdef enum:
    MOST_PATH = 4096            # PATH_MAX, with its NUL: realpath(3) writes no more
