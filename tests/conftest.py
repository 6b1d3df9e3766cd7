"""How much hypothesis tries: ``fast`` in CI, ``HYPOTHESIS_PROFILE=deep pytest --timeout 0 tests/unit/_fast`` by hand."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Where the environment forbids it, each of the thousand proxies that tests start would compile all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No deadline: two CPUs are shared, and under AddressSanitizer everything is slow.
BASE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", BASE, max_examples=300, derandomize=True, database=None)
settings.register_profile("deep", BASE, max_examples=30_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(autouse=True, scope="module")
def _what_was_left_behind() -> Iterator[None]:
    """What a module's tests left open is found in that module, not in whichever test runs next."""
    yield
    gc.collect()


@pytest.fixture(autouse=True, scope="session")
def _own_runtime_folder() -> Iterator[None]:
    """Proxies of this session do not meet those of another where `--live` looks for them; short, as socket paths are."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", folder)
        yield
