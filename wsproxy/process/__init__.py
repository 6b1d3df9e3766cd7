"""Supervisor and workers: listening sockets, signals, shared state, restart of crashed workers."""
