"""Side-by-side benchmark of wsproxy and other proxies on one machine, all of it on 127.0.0.1: ``wsproxy bench``."""
