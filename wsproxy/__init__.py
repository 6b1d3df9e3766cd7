"""Reverse proxy and load balancer for servlet containers, driven by IBM's plugin-cfg.xml."""
