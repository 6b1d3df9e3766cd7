"""A plugin-cfg.xml in the words of other proxies: one module each. Pure."""
