"""http_plugin.log, read; its decisions taken again."""
