"""Settings of a collection: defaults by dimension, bounds, and a hint for a wrong name."""

from __future__ import annotations

import pytest

from reddb import errors
from reddb.settings import SETTINGS, check_online, resolve, written


def refused(given: dict[str, object]) -> errors.RedDBError:
    with pytest.raises(errors.RedDBError) as caught:
        resolve(given, 384)
    assert caught.value.code is errors.INVALID_SETTING
    return caught.value


@pytest.mark.parametrize(("dim", "bits"), [(1, 4), (127, 4), (128, 2), (8192, 2)])
def test_few_dimensions_take_more_bits(dim, bits):
    settings = resolve({}, dim)
    assert settings["bits"] == bits
    # The words that users read name the number that they get.
    assert f"{settings['oversample']} with {bits} bits" in SETTINGS["oversample"].default_in_words


def test_oversample_follows_the_bits_that_were_given():
    assert resolve({"bits": 4}, 384)["oversample"] == resolve({}, 2)["oversample"]
    assert resolve({"bits": 2}, 2)["oversample"] == resolve({}, 384)["oversample"]


def test_what_is_given_is_taken():
    defaults = resolve({}, 384)
    assert resolve({"oversample": 1, "bits": 4}, 384) == {**defaults, "bits": 4, "oversample": 1}
    assert resolve({"oversample": 1000}, 384) == {**defaults, "oversample": 1000}
    assert resolve({"index": "hnsw", "codes": "sq8"}, 384) == {**defaults, "index": "hnsw", "codes": "sq8"}


def test_m0_is_twice_m_unless_it_is_given():
    assert resolve({}, 3)["m0"] == 32
    assert resolve({"m": 8}, 3)["m0"] == 16
    assert resolve({"m": 8, "m0": 8}, 3)["m0"] == 8


@pytest.mark.parametrize("value", [0, 1, 3, 8, -2, True, 2.0, "4", None])
def test_bits_are_2_or_4(value):
    error = refused({"bits": value})
    assert error.message == f"bits must be 2 or 4, not {value!r}"
    assert error.detail == {"setting": "bits"}


@pytest.mark.parametrize("value", [0, -1, 1001, True, 1.0, "1", None])
def test_oversample_has_bounds(value):
    assert refused({"oversample": value}).message == f"oversample must be an integer from 1 to 1000, not {value!r}"


@pytest.mark.parametrize("setting", [item for item in SETTINGS.values() if not item.choices], ids=lambda of: of.name)
def test_numbers_have_bounds(setting):
    for value in (setting.minimum, setting.maximum):
        assert resolve({setting.name: value}, 384)[setting.name] == value
    for value in (setting.minimum - 1, setting.maximum + 1, True, float(setting.maximum), str(setting.maximum)):
        assert f"an integer from {setting.minimum} to {setting.maximum}" in refused({setting.name: value}).message


@pytest.mark.parametrize("setting", [item for item in SETTINGS.values() if item.choices], ids=lambda item: item.name)
def test_choices_are_those_that_are_named(setting):
    for value in setting.choices:
        assert resolve({setting.name: value}, 384)[setting.name] == value
    for value in ("", "AUTO", 5, 2.0, None, [2], *((1,) if True in setting.choices else (True,))):
        assert " or ".join(str(written(choice)) for choice in setting.choices) in refused({setting.name: value}).message


def test_only_what_holds_from_now_on_can_be_changed():
    fixed = {name for name, setting in SETTINGS.items() if not setting.online}
    assert fixed == {"bits", "partitions"}
    before = resolve({}, 384)
    assert check_online({"oversample": 7, "index": "flat"}, before) == {"oversample": 7, "index": "flat"}
    with pytest.raises(errors.RedDBError, match="bits is fixed when a collection is created") as caught:
        check_online({"oversample": 7, "bits": 4}, before)
    assert caught.value.detail == {"setting": "bits"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bit", "did you mean bits?"),
        ("oversampel", "did you mean oversample?"),
        ("zzz", "settings are: " + ", ".join(SETTINGS)),
    ],
)
def test_an_unknown_setting_gets_a_hint(name, hint):
    error = refused({name: 1})
    assert error.message == f"unknown setting {name!r}"
    assert error.detail == {"setting": name, "hint": hint}


def test_every_setting_is_resolved():
    assert set(resolve({}, 3)) == set(SETTINGS)
    assert all(setting.name == name and setting.meaning.endswith(".") for name, setting in SETTINGS.items())
