"""The fast path, all Cython. Imports nothing from the rest of wsproxy."""
