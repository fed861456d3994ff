"""WITH (…) of a search: how its index is used."""

from __future__ import annotations

from typing import Any

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query.binding import Binding, choices
from reddb.types import SearchOptions

_NAMES = ("ef", "exact", "recall")


def bind_options(binding: Binding, options: tuple[ast.Option, ...], k: int) -> SearchOptions:
    """The options of a search for k rows. Raises INVALID_SETTING at the wrong one."""
    given: dict[str, Any] = {}
    for option in options:
        name, value = option.name.text, binding.values.value(option.value)
        if name == "ef":
            given["ef"] = binding.values.count(option.value, 0, limits.EF_MAX, "ef")
            if not given["ef"]:
                binding.refuse(errors.INVALID_VALUE, f"ef is an integer from 1 to {limits.EF_MAX}", option)
        elif name == "exact":
            if type(value) is not bool:
                binding.refuse(errors.INVALID_SETTING, "exact is true or false", option)
            given["exact"] = value
        elif name == "recall":
            if type(value) not in (int, float) or not 0 < value <= 1:
                binding.refuse(errors.INVALID_SETTING, "recall is a number above 0, at most 1", option)
            given["recall"] = float(value)
        else:
            hint = choices(name, _NAMES)
            binding.refuse(errors.INVALID_SETTING, f"a search has no setting {name!r}", option, hint)
    if given.get("ef") is not None and given.get("recall") is not None:
        binding.refuse(errors.INVALID_SETTING, "ef and recall say the same thing: give one of them", options[0])
    return SearchOptions(k=k, **given)


def refuse_options(binding: Binding, options: tuple[ast.Option, ...], *, has_distance: bool) -> None:
    """Of a read that uses no index: only `exact = true` is true of it. Raises INVALID_SETTING for another."""
    if options and not has_distance:
        binding.refuse(errors.INVALID_SETTING, "WITH belongs to a search by vector", options[0])
    for option in options:
        if option.name.text != "exact":
            message = "this read compares all rows that match, so no index is to be told how to search"
            binding.refuse(errors.INVALID_SETTING, message, option, "ORDER BY vector <=> $1 LIMIT n uses an index")
    if not bind_options(binding, options, 0).exact and options:
        binding.refuse(errors.INVALID_SETTING, "this read compares all rows that match: it is exact", options[0])
