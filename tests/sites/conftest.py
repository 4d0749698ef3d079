"""How much the property tests try: the same few cases in every run, or many new ones with

pytest --hypothesis-profile=thorough tests/sites
"""

from __future__ import annotations

from pathlib import Path

import hypothesis.configuration
from hypothesis import HealthCheck, settings

hypothesis.configuration.set_hypothesis_home_dir(Path(__file__).parents[2] / ".pytest_cache" / "hypothesis")
# A slow machine is no mistake, and no reason to draw other cases.
_QUIET = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("quick", _QUIET, derandomize=True, max_examples=10)
settings.register_profile("thorough", _QUIET, max_examples=3000)
settings.load_profile("quick")
