"""A decision in words: each step with its reason. Knows no socket: a view and a request are enough."""
