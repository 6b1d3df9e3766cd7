"""Side-by-side benchmark of wsproxy, nginx, HAProxy and httpd: ``python -m bench.macro``."""
