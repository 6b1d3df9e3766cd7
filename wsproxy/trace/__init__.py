"""Traces: records of sampled requests, from all workers, become spans that a collector gets. One process, beside the workers."""
