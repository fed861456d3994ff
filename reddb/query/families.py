"""Values of mixed families over rows: joined, taken, and brought into the one order that everything sorts by.

Values are those of `reddb.query.operands`: a map from family to an Arrow array (rows,) or a scalar; here always arrays.

The order, for ORDER BY, min and max, and the equality of GROUP BY and DISTINCT, which is its own:

    numbers       integers and floats together, as the numbers that they are; -0.0 is 0.0
    texts         by code point
    booleans      false before true
    timestamps    the earlier first
    arrays        of integers, then of texts; item by item, a shorter one before those it begins
    others        maps and mixed lists, equal among themselves: they have an order, but no equality to group by

NULL stands before or behind all, as the statement says.

Invariant: two values have one code exactly if they are equal, and the lesser value has the lesser code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb.query.numbers import LOST_MAX, lost
from reddb.query.operands import Values, as_float
from reddb.storage.payload_columns import ARROW_TYPES, Family

Codes: TypeAlias = NDArray[np.int64]
Arrays: TypeAlias = Mapping[str, pa.Array]

_NUMBERS = (Family.INT, Family.FLOAT)
_CLASSES = (Family.TEXT, Family.BOOL, Family.TIMESTAMP, Family.INTS, Family.TEXTS, Family.OTHER)
NULL_CODE = -1


def arrays(values: Values, rows: int) -> Arrays:
    """The same with every scalar repeated and every dictionary decoded; families without a value are left out."""
    made = {}
    for family, array in values.items():
        if isinstance(array, pa.Scalar):
            array = pa.repeat(array, rows)
        elif isinstance(array, pa.DictionaryArray):
            array = array.dictionary_decode()
        if array.null_count < rows:
            made[family] = array
    return made


def take(values: Arrays, rows: NDArray[Any]) -> Arrays:
    """The values of these rows (n,)."""
    wanted = pa.array(rows)
    return {family: array.take(wanted) for family, array in values.items()}


def concatenate(parts: Sequence[Arrays], counts: Sequence[int]) -> Arrays:
    """The values of several sources, of so many rows each, one after the other."""
    families = dict.fromkeys(family for part in parts for family in part)
    joined = {}
    for family in families:
        kind = ARROW_TYPES[Family(family)]
        pieces = [
            part[family].cast(kind) if family in part else pa.nulls(count, kind)
            for part, count in zip(parts, counts, strict=True)
        ]
        joined[family] = pa.concat_arrays(pieces)
    return joined


def valid(values: Arrays, rows: int) -> NDArray[np.bool_]:
    """Which rows are not NULL."""
    present: NDArray[np.bool_] = np.zeros(rows, np.bool_)
    for array in values.values():
        present |= np.asarray(array.is_valid())
    return present


def codes(values: Arrays, rows: int) -> Codes:
    """A code for each row, in the order above from 0; NULL_CODE for NULL."""
    found: Codes = np.full(rows, NULL_CODE, np.int64)
    first = 0
    numbers: Arrays = {family: values[family] for family in _NUMBERS if family in values}
    if numbers:
        first = _put(found, first, _ranked_numbers(numbers, rows))
    for family in _CLASSES:
        if family in values:
            first = _put(found, first, _RANKS.get(family, _ranked)(values[family]))
    return found


def identities(values: Arrays, rows: int) -> Codes:
    """The same in any order of the codes, which costs texts a fifth; NULL has the code NULL_CODE."""
    if values.keys() != {Family.TEXT}:
        return codes(values, rows)
    places: Codes = values[Family.TEXT].dictionary_encode().indices.fill_null(NULL_CODE).to_numpy().astype(np.int64)
    return places


def directed(found: Codes, descending: bool, nulls_first: bool) -> Codes:
    """Codes that sort upwards in the direction that is asked for."""
    null = found == NULL_CODE
    ordered: Codes = -found if descending else found.copy()
    limit = len(found) + 1
    ordered[null] = -limit if nulls_first else limit
    return ordered


def dense(keys: Sequence[Codes], rows: int) -> Codes:
    """One number from 0 for each combination of codes, equal ones alike; of no keys all are one."""
    joined: Codes = np.zeros(rows, np.int64)
    for key in keys:
        joined = np.unique(joined * (rows + 2) + key, return_inverse=True)[1].astype(np.int64)
    return joined


def _put(found: Codes, first: int, ranks: pa.Array | NDArray[np.int64]) -> int:
    """Put ranks (n,) from 0, negative where there is none, behind the codes before; gives the next free code."""
    has = ranks >= 0
    if not has.any():
        return first
    found[has] = ranks[has] + first
    return first + int(ranks.max()) + 1


def _ranked(array: pa.Array) -> NDArray[np.int64]:
    """Dense ranks of numbers, instants or truths from 0; -1 for null."""
    # Not Arrow's rank, which takes ten times as long.
    ranks: NDArray[np.int64] = np.full(len(array), -1, np.int64)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    has = np.asarray(array.is_valid())
    ranks[has] = np.unique(array.drop_null().to_numpy(zero_copy_only=False), return_inverse=True)[1]
    return ranks


def _ranked_texts(array: pa.Array) -> NDArray[np.int64]:
    encoded = array.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    places: NDArray[np.int64] = np.empty(len(order) + 1, np.int64)
    places[order] = np.arange(len(order))
    places[-1] = -1
    ranks: NDArray[np.int64] = places[encoded.indices.fill_null(-1).to_numpy()]
    return ranks


def _ranked_numbers(numbers: Arrays, rows: int) -> NDArray[np.int64]:
    if len(numbers) == 1:
        ((family, array),) = numbers.items()
        return _ranked(_one_zero(array) if family == Family.FLOAT else array)
    integers, floats = numbers[Family.INT], numbers[Family.FLOAT]
    ranks = _ranked(pc.coalesce(as_float(integers), _one_zero(floats)))
    rest = lost(integers.fill_null(0).to_numpy())
    if not rest.any():
        return ranks
    return _ranked(pa.array(ranks * (2 * LOST_MAX + 1) + rest, mask=ranks < 0))


def _one_zero(floats: pa.Array) -> pa.Array:
    """-0.0 is 0.0."""
    return pc.add(floats, 0.0)


def _ranked_lists(array: pa.Array) -> NDArray[np.int64]:
    items = [None if item is None else tuple(item) for item in array.to_pylist()]
    order = {item: rank for rank, item in enumerate(sorted({item for item in items if item is not None}))}
    return np.array([-1 if item is None else order[item] for item in items], np.int64)


def _ranked_others(array: pa.Array) -> NDArray[np.int64]:
    return np.where(np.asarray(array.is_valid()), 0, -1).astype(np.int64)


_RANKS = {
    Family.TEXT: _ranked_texts,
    Family.INTS: _ranked_lists,
    Family.TEXTS: _ranked_lists,
    Family.OTHER: _ranked_others,
}
