"""What a running proxy can be asked, through a Unix socket: explanations of requests, its status."""
