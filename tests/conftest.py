"""Hypothesis profiles: `default` draws the same examples every time, `--hypothesis-profile=long` looks for new ones."""

from __future__ import annotations

from hypothesis import settings

# No deadline: on a shared machine a slow example says nothing about the code.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, derandomize=False, max_examples=5_000)
settings.load_profile("default")
