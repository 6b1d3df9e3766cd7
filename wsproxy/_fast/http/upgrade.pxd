# Which upgrades of a connection go on.

from wsproxy._fast.http.fields cimport Fields

# The names, in lower case, of the protocols that the head's Upgrade field asks for (or says), where all are of this set: then
# it goes on, Connection with it. None: it does not.
cdef frozenset pass_upgrade(Fields* fields, frozenset protocols)
