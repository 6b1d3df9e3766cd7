"""Measurements: ``bench.macro`` runs wsproxy beside its peers; results are kept as JSON in ``bench/results``."""
