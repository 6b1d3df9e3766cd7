# Which upgrades of a connection go on.

from wsproxy._fast.fields cimport Fields

# Whether the head's Upgrade field asks for (or says) protocols of this set only; then it goes on, Connection with it.
cdef bint pass_upgrade(Fields* fields, frozenset protocols) except -1
