"""Settings and helpers that all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# Numba compiles at the first call, so no deadline; the same examples in every run, so that a red test stays red.
# HYPOTHESIS_PROFILE=explore draws new ones, and more of them.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=200)
settings.register_profile("explore", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
