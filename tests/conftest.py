"""How much hypothesis tries: ``fast`` in CI, ``HYPOTHESIS_PROFILE=deep pytest --timeout 0 tests/parity`` by hand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline: two CPUs are shared, and under AddressSanitizer everything is slow.
BASE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", BASE, max_examples=300, derandomize=True, database=None)
settings.register_profile("deep", BASE, max_examples=30_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
