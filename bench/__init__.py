"""Measurements for those who work on wsproxy; side by side with other proxies is ``wsproxy.bench``. Results are in ``bench/results``."""
