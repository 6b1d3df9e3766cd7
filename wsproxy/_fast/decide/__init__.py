"""Which cluster, which server, and what of clone ids: the decisions, without I/O."""
