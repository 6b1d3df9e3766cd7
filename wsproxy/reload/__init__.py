"""Taking over another configuration while the proxy runs: who notices, who decides, and what is remembered of it."""
