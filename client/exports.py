"""A result as a table of another library: Arrow or pandas, loaded when it is asked for.

Invariants:
  * Every column is there, by its place: two may have one name.
  * A value is the same in the table, or the table is refused; none is rounded or made text in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reddb import errors

if TYPE_CHECKING:
    import pandas
    import pyarrow

_INT64 = range(-(2**63), 2**63)


def to_arrow(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pyarrow.Table:
    """Raises INVALID_VALUE for a column whose values have no type in common."""
    import pyarrow

    arrays = []
    for name, values in zip(columns, _by_column(columns, rows), strict=True):
        try:
            arrays.append(pyarrow.array(values))
        except (pyarrow.ArrowException, OverflowError) as error:
            kinds = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
            message = f"column {name!r} has values of {kinds}, which have no Arrow type in common: {error}"
            raise errors.INVALID_VALUE.error(message, hint="a CAST gives the column one type") from error
    return pyarrow.Table.from_arrays(arrays, names=list(columns))


def to_pandas(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pandas.DataFrame:
    """The types of numpy where they hold every value, pandas' nullable ones for NULLs, else objects."""
    import pandas

    series = {
        place: pandas.Series(values, dtype=_dtype(values)) for place, values in enumerate(_by_column(columns, rows))
    }
    frame = pandas.DataFrame(series, index=range(len(rows)))
    frame.columns = pandas.Index(columns, dtype=object)
    return frame


def _by_column(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(len(columns))]


def _dtype(values: list[Any]) -> str:
    kinds = {type(value) for value in values}
    has_null = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {int} and all(value in _INT64 for value in values if value is not None):
        return "Int64" if has_null else "int64"
    if kinds == {bool}:
        return "boolean" if has_null else "bool"
    if kinds == {float}:
        return "float64"
    if kinds == {datetime}:
        return "datetime64[us, UTC]"
    return "object"
