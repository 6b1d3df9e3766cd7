"""What people are told of a request: http_plugin.log, the access log, explanations; and what no log may tell."""
