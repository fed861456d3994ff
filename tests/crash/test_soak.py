"""Ten seconds of the soak, and proof that it would notice what grows.

The long form is `python -m tests.crash.soak` (`make soak`).
"""

from __future__ import annotations

import pytest

from tests.crash.soak import Soak, growth

SECONDS = 10
_DECK = {"builder": 6, "core": 2, "hang": 1}


def test_a_server_whose_processes_are_killed_stays_right(tmp_path):
    soak = Soak(tmp_path, SECONDS, strike_s=1.0, deck=_DECK)
    soak.run()
    assert soak.violations == []
    assert soak.operations > 0
    assert soak.struck.keys() == _DECK.keys()
    # All of it is warming up: only the long form can compare its beginning with its end.
    assert all(min(values) > 0 for values in soak.samples.values())


@pytest.mark.parametrize(("name", "slack"), [("memory", 64), ("descriptors", 64), ("disk", 128)])
def test_what_grows_beyond_the_slack_is_named(name, slack):
    first, last = [100, 10, 10], [10, 10, 125 + slack]
    assert growth(name, [*first, 10_000, *last]) == []  # between the thirds anything may be
    assert growth(name, [*first, 10, *last[:2], 126 + slack]) == [
        f"{name} grew from 100 to {126 + slack}, beyond {125 + slack}"
    ]
