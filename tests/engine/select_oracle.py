"""What a SELECT must give, by plain Python over rows that are dicts. Shares no code with reddb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cmp_to_key
from typing import Any

Row = dict[str, Any]
Truth = bool | None


def rank(value: Any) -> tuple[int, Any]:
    """The one order of all values: numbers, texts, truths; NULL is not among them."""
    if isinstance(value, bool):
        return 2, value
    return (1, value) if isinstance(value, str) else (0, value)


def ordered(rows: Sequence[Row], keys: Sequence[tuple[str, bool, bool]]) -> list[Row]:
    """Rows by (column, descending, nulls first); equal ones as they came."""

    def compare(left: Row, right: Row) -> int:
        for column, descending, nulls_first in keys:
            mine, theirs = left[column], right[column]
            if mine is None or theirs is None:
                if mine is not theirs:
                    return -1 if (mine is None) == nulls_first else 1
            elif rank(mine) != rank(theirs):
                return -1 if (rank(mine) < rank(theirs)) != descending else 1
        return 0

    return sorted(rows, key=cmp_to_key(compare))


def compared(operator: str, mine: Any, theirs: Any) -> Truth:
    """The truth of a comparison; what does not compare is not known."""
    if mine is None or theirs is None or rank(mine)[0] != rank(theirs)[0]:
        return None
    return {
        "=": mine == theirs,
        "<>": mine != theirs,
        "<": mine < theirs,
        "<=": mine <= theirs,
        ">": mine > theirs,
        ">=": mine >= theirs,
    }[operator]


def both(left: Truth, right: Truth) -> Truth:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left: Truth, right: Truth) -> Truth:
    if left or right:
        return True
    return None if left is None or right is None else False


def grouped(rows: Sequence[Row], keys: Sequence[str]) -> list[list[Row]]:
    """Rows by the values of their keys, in the order of their first rows; 1 and 1.0 are equal, TRUE is neither."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        key = tuple(None if row[name] is None else rank(row[name]) for name in keys)
        groups.setdefault(key, []).append(row)
    return list(groups.values()) if keys else [list(rows)]


def aggregate(name: str, column: str | None, distinct: bool, rows: Sequence[Row]) -> Any:
    if column is None:
        return len(rows)
    values = [row[column] for row in rows if row[column] is not None]
    if distinct:
        values = list({rank(value): value for value in values}.values())
    if name == "count":
        return len(values)
    if not values:
        return None
    if name == "sum":
        return sum(values)
    if name == "avg":
        return sum(values) / len(values)
    return (min if name == "min" else max)(values, key=rank)


def best_of_groups(rows: Sequence[Row], key: str, groups: int, per_group: int) -> list[Row]:
    """Of rows in their order the first of each of the first groups."""
    found = grouped(rows, [key])[:groups]
    return [row for group in found for row in group[:per_group]]


Where = tuple[str, Callable[[Row], Truth]]
