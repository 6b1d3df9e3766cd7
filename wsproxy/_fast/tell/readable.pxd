# Text of http_plugin.log: what could end a line, drive a terminal or is no UTF-8 is escaped, and is read back.

# The text that was written; the same object where nothing is escaped.
cdef bytes read_back(bytes text)
