"""Measurements of single functions: ``python -m bench.micro.match``."""
