"""What plugin-cfg.xml and wsproxy.toml say: typed model, readers, checks. No sockets, no clock."""
