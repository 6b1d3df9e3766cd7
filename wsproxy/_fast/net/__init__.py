"""Sockets, and the hub of a worker."""
