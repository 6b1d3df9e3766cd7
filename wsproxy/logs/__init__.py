"""The two logs of requests: the dialect of http_plugin.log and of access logs, written, read, and their file."""
