"""Times single functions: what a change to one of them costs. Driven by hand, never by tests."""
