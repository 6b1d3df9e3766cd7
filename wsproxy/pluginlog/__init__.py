"""The http_plugin.log dialect: what its messages look like, a reader, and the replay of a log's decisions."""
