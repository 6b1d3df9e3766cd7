"""The slow path in Python: connecting, failover, local answers, the worker process. Works on the objects of ``_fast``."""
