"""The table of collection settings: name, default, bounds and meaning, read by validation, `SHOW` and the docs.

Invariant: a setting stands here only if something reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from reddb import errors, limits
from reddb.wording import shown

SettingValue: TypeAlias = int | str


def written(value: Any) -> str | None:
    """A value as SHOW SETTINGS writes it."""
    return str(value).lower() if isinstance(value, bool) else None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a collection: one of `choices`, or, without any, an integer from `minimum` to `maximum`."""

    name: str
    default: SettingValue | None  # None: `resolve` derives it
    meaning: str
    minimum: int = 0
    maximum: int = 0
    choices: tuple[SettingValue, ...] = ()
    default_in_words: str = ""
    online: bool = False  # may be changed by ALTER COLLECTION … SET, which then holds for all that happens later

    def check(self, value: Any) -> SettingValue:
        """Return `value`, or raise INVALID_SETTING saying what would be right."""
        allowed = (
            " or ".join(str(written(choice)) for choice in self.choices)
            if self.choices
            else f"an integer from {self.minimum} to {self.maximum}"
        )
        valid = (
            any(type(value) is type(choice) and value == choice for choice in self.choices)
            if self.choices
            else type(value) is int and self.minimum <= value <= self.maximum
        )
        if not valid:
            raise errors.INVALID_SETTING.error(f"{self.name} must be {allowed}, not {shown(value)}", setting=self.name)
        checked: SettingValue = value
        return checked


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            name="durability",
            choices=("fsync", "flush", "none"),
            default="fsync",
            online=True,
            meaning="What an acknowledged write survives: a power cut, a dead process, or neither until it is sealed.",
        ),
        Setting(
            name="partitions",
            minimum=1,
            maximum=limits.PARTITIONS_MAX,
            default=1,
            meaning="Parts the rows are spread over by id, each written by a core of its own.",
        ),
        Setting(
            name="free_keys",
            choices=(True, False),
            default=None,
            default_in_words="false where FIELDS are declared, else true",
            online=True,
            meaning="Whether rows may have keys that are no declared fields; if not, a name that is none is an error.",
        ),
        Setting(
            name="flush_interval_ms",
            minimum=1,
            maximum=60_000,
            default=1000,
            online=True,
            meaning="How long a write may wait for its sync where durability is flush.",
        ),
        Setting(
            name="checkpoint_s",
            minimum=0,
            maximum=86_400,
            default=300,
            online=True,
            meaning="Seconds between two checkpoints of a collection that is written to; 0 for never.",
        ),
        Setting(
            name="checkpoint_wal_mib",
            minimum=128,
            maximum=1_048_576,
            default=1024,
            online=True,
            meaning="Log beyond which growing rows are sealed early, and deletes put into files.",
        ),
        Setting(
            name="bits",
            choices=(2, 4),
            default=None,
            default_in_words="4 below 128 dimensions, else 2",
            meaning="Bits per coordinate of a turbo code.",
        ),
        Setting(
            name="oversample",
            minimum=1,
            maximum=1000,
            default=None,
            default_in_words="6 with 2 bits, 4 with 4 bits",
            online=True,
            meaning="Candidates per wanted row and segment that a scan of turbo codes gives to the exact ranking, "
            "at least.",
        ),
        Setting(
            name="index",
            choices=("auto", "flat", "hnsw", "ivf"),
            default="auto",
            online=True,
            meaning="How sealed segments are searched: a scan, a graph, lists, or what was measured to cost less.",
        ),
        Setting(
            name="codes",
            choices=("auto", "f32", "f16", "sq8", "turbo4", "turbo2"),
            default="auto",
            online=True,
            meaning="What a graph compares a query with; every answer is ranked by float32 vectors.",
        ),
        Setting(name="m", minimum=4, maximum=128, default=16, online=True, meaning="Links of a row in a graph."),
        Setting(
            name="m0",
            minimum=4,
            maximum=256,
            default=None,
            default_in_words="2 x m",
            online=True,
            meaning="Links of a row on the lowest level of a graph.",
        ),
        Setting(
            name="ef_construction",
            minimum=8,
            maximum=2048,
            default=128,
            online=True,
            meaning="Candidates that are looked at to link a row.",
        ),
        Setting(
            name="ef",
            minimum=1,
            maximum=limits.EF_MAX,
            default=192,
            online=True,
            meaning="Candidates that a graph gives to the exact ranking, at least, unless a search says otherwise.",
        ),
        Setting(
            name="seal_rows",
            minimum=1024,
            maximum=limits.SEGMENT_ROWS,
            default=limits.SEGMENT_ROWS,
            online=True,
            meaning="Rows at which a growing segment is sealed.",
        ),
        Setting(
            name="seal_idle_s",
            minimum=0,
            maximum=86_400,
            default=60,
            online=True,
            meaning="Seconds without a write after which growing rows are sealed; 0 for never.",
        ),
        Setting(
            name="segment_rows_max",
            minimum=1024,
            maximum=16_777_216,
            default=1_048_576,
            online=True,
            meaning="Rows up to which sealed segments are merged.",
        ),
    )
}


# 2 bits lose too much where few coordinates carry the vector: on 100-d word vectors 2 bits need 30 candidates
# per row for recall 0.993, 4 bits reach 0.999 with 4. From 128-d on 2 bits x 6 reach 0.999 at half the cost.
_FEW_DIMENSIONS = 128


def check(given: Mapping[str, Any]) -> dict[str, SettingValue]:
    """The given settings, each known and within its bounds. Raises INVALID_SETTING."""
    for name in given:
        if name not in SETTINGS:
            raise unknown_setting(name, SETTINGS)
    return {name: SETTINGS[name].check(value) for name, value in given.items()}


def unknown_setting(name: str, known: Mapping[str, Any]) -> errors.RedDBError:
    """The error for a name that is none of these, with the nearest one."""
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"settings are: {', '.join(known)}"
    return errors.INVALID_SETTING.error(f"unknown setting {shown(name)}", setting=name, hint=hint)


def check_online(given: Mapping[str, Any], before: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
    """The same for a collection that has the settings `before`. Raises INVALID_SETTING for what cannot be changed."""
    checked = check(given)
    for name in checked:
        if not SETTINGS[name].online:
            raise errors.INVALID_SETTING.error(f"{name} is fixed when a collection is created", setting=name)
    durability = checked.get("durability", before["durability"])
    if durability != before["durability"] and "none" in (durability, before["durability"]):
        # Without a log there is nothing that later records could follow.
        message = f"durability can be changed between fsync and flush, not from {before['durability']} to {durability}"
        raise errors.INVALID_SETTING.error(message, setting="durability")
    return checked


def resolve(given: Mapping[str, Any], dim: int, *, has_fields: bool = False) -> dict[str, SettingValue]:
    """Every setting of a new collection: what was given, checked, and defaults for the rest.

    Raises INVALID_SETTING for an unknown name or a value out of bounds.
    """
    checked = check(given)
    settings = {name: checked.get(name, setting.default) for name, setting in SETTINGS.items()}
    if settings["free_keys"] is None:
        settings["free_keys"] = not has_fields
    if settings["bits"] is None:
        settings["bits"] = 4 if dim < _FEW_DIMENSIONS else 2
    if settings["oversample"] is None:
        settings["oversample"] = 4 if settings["bits"] == 4 else 6
    if settings["m0"] is None:
        settings["m0"] = 2 * int(settings["m"] or 0)
    return {name: value for name, value in settings.items() if value is not None}
