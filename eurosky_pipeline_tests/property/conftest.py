"""Hypothesis for all property tests: how long an example takes says more about the machine than about the code."""

from hypothesis import settings

settings.register_profile("eurosky", deadline=None)
settings.load_profile("eurosky")
