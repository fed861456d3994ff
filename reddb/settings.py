"""The table of collection settings: name, default, bounds and meaning, read by validation, `SHOW` and the docs.

Invariant: a setting stands here only if something reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from reddb import errors


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a collection. `choices` empty means any integer from `minimum` to `maximum`."""

    name: str
    minimum: int
    maximum: int
    choices: tuple[int, ...]
    default: str  # in words; `resolve` gives the number
    meaning: str

    def check(self, value: Any) -> int:
        """Return `value`, or raise INVALID_SETTING saying what would be right."""
        allowed = (
            " or ".join(map(str, self.choices)) if self.choices else f"an integer from {self.minimum} to {self.maximum}"
        )
        valid = type(value) is int and (
            value in self.choices if self.choices else self.minimum <= value <= self.maximum
        )
        if not valid:
            raise errors.INVALID_SETTING.error(f"{self.name} must be {allowed}, not {value!r}", setting=self.name)
        return int(value)


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            name="bits",
            minimum=2,
            maximum=4,
            choices=(2, 4),
            default="4 below 128 dimensions, else 2",
            meaning="Bits per coordinate of a turbo code.",
        ),
        Setting(
            name="oversample",
            minimum=1,
            maximum=1000,
            choices=(),
            default="6 with 2 bits, 4 with 4 bits",
            meaning="Candidates per wanted row and segment that are ranked again by exact distance.",
        ),
    )
}

# 2 bits lose too much where few coordinates carry the vector: on 100-d word vectors 2 bits need 30 candidates
# per row for recall 0.993, 4 bits reach 0.999 with 4. From 128-d on 2 bits x 6 reach 0.999 at half the cost.
_FEW_DIMENSIONS = 128


def check(given: Mapping[str, Any]) -> dict[str, int]:
    """The given settings, each known and within its bounds. Raises INVALID_SETTING."""
    for name in given:
        if name not in SETTINGS:
            near = get_close_matches(name, SETTINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"settings are: {', '.join(SETTINGS)}"
            raise errors.INVALID_SETTING.error(f"unknown setting {name!r}", setting=name, hint=hint)
    return {name: SETTINGS[name].check(value) for name, value in given.items()}


def resolve(given: Mapping[str, Any], dim: int) -> dict[str, int]:
    """Every setting of a new collection: what was given, checked, and defaults for the rest.

    Raises INVALID_SETTING for an unknown name or a value out of bounds.
    """
    checked = check(given)
    bits = checked.get("bits", 4 if dim < _FEW_DIMENSIONS else 2)
    oversample = checked.get("oversample", 4 if bits == 4 else 6)
    return {"bits": bits, "oversample": oversample}
