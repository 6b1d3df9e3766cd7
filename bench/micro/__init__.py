"""Times of single functions, printed as JSON: ``python -m bench.micro.<name>``."""
