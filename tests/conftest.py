"""What all tests share: profiles of hypothesis, and a Ctrl-C that works.

`default` draws the same examples every time, `--hypothesis-profile=long` looks for new ones.
"""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell that starts the tests in the background lets them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: on a shared machine a slow example says nothing about the code.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, derandomize=False, max_examples=5_000)
settings.load_profile("default")
