"""What may be given to a call: each argument is checked by name before anything is sent, on every face alike.

Invariant: whatever is given, the checked argument comes back or a RedDBError names the argument, what was given, and
what would be right.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reddb import errors, limits
from reddb.array_likes import float32_array, is_hidden
from reddb.plain import NotPlain, plain
from reddb.rows import id_column
from reddb.types import IdColumn, Payload, RowId
from reddb.wording import shown

Parameters: TypeAlias = Iterable[Any] | Mapping[str, Any] | None
Ids: TypeAlias = IdColumn | Iterable[RowId]
Payloads: TypeAlias = Iterable[Payload | None]


class _Default(Enum):
    CLIENT_DEFAULT = "that of the client"


CLIENT_DEFAULT: Final = _Default.CLIENT_DEFAULT
Timeout: TypeAlias = float | Literal[_Default.CLIENT_DEFAULT] | None

# What a query may be, for the overloads of `search`: how many dimensions it has decides what comes back.
_AnyDtype: TypeAlias = np.dtype[Any]
OneQuery: TypeAlias = Sequence[float] | np.ndarray[tuple[int], _AnyDtype]
ManyQueries: TypeAlias = Sequence[Sequence[float]] | Sequence[NDArray[Any]] | np.ndarray[tuple[int, int], _AnyDtype]
# Arrays of unknown dimensions fit a tuple of any length; those of known ones do not fit this one.
UnknownQuery: TypeAlias = np.ndarray[tuple[int, int, int, int, int, int, int], _AnyDtype]


class SearchWords(TypedDict, total=False):
    """The further arguments of `search`, by name."""

    where: str | None
    params: Parameters
    ef: int | None
    exact: bool
    recall: float | None
    with_payloads: bool
    with_vectors: bool
    with_report: bool
    timeout_s: Timeout


_NO_LISTS = (str, bytes, bytearray, memoryview, Mapping, set, frozenset)  # iterable, but in no order or of no rows
_SCALARS = frozenset({type(None), bool, float})
_TIMEOUT_S_MAX = limits.STATEMENT_TIMEOUT_MS_MAX / 1000


def text(name: str, value: Any, what: str) -> str:
    """A string of valid Unicode."""
    if not isinstance(value, str):
        _refuse(name, f"a string, {what}", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            message = f"{name}: character {error.start + 1} of the text is half a surrogate pair"
            raise errors.INVALID_PARAMETER.error(message, hint="value.encode('utf-8', 'replace').decode()") from error
    return value if type(value) is str else str.__str__(value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        _refuse(name, "True or False", value)
    return bool(value)


def whole(name: str, value: Any) -> int:
    """An integer of 64 bits; numpy's are integers too, a boolean is none."""
    if isinstance(value, bool | np.bool_ | np.ndarray) or not hasattr(value, "__index__"):
        _refuse(name, "a whole number", value)
    try:
        number = operator.index(value)
    except Exception:  # of an array of several, or of the user's own
        _refuse(name, "a whole number", value)
    if not limits.ID_INT_MIN <= number <= limits.ID_INT_MAX:
        _refuse(name, "a whole number of 64 bits", value)
    return number


def real(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        _refuse(name, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        _refuse(name, "a finite number", value)
    return number


def timeout(value: Any) -> float | None:
    """Seconds above 0, or None for no limit."""
    if value is None:
        return None
    what = f"a number of seconds above 0, at most {_TIMEOUT_S_MAX:.0f}, or None for no limit"
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        _refuse("timeout_s", what, value)
    if not 0 < value <= _TIMEOUT_S_MAX:
        _refuse("timeout_s", what, value)
    return float(value)


def parameters(value: Any) -> list[Any] | dict[str, Any]:
    """The values for a statement as plain ones; None is no parameters. Raises INVALID_VALUE for one with no form."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                _refuse("params", "a dict from names to values for :name", value)
        return {key: _parameter(item, f":{key}") for key, item in value.items()}
    listed = _listed("params", value, "a list for $1 and ?, or a dict for :name; one value alone stands in a list, too")
    return [_parameter(item, f"${number}") for number, item in enumerate(listed, 1)]


def ids(value: Any, *, may_be_one: bool = False) -> IdColumn:
    """Ids as a column; one alone only where that is allowed. Raises INVALID_ID naming the row."""
    if may_be_one and isinstance(value, int | str | np.integer):
        value = [value]
    if isinstance(value, np.ndarray) and value.ndim != 1:
        _refuse("ids", "a one-dimensional array", value)
    return id_column(
        value if isinstance(value, np.ndarray) else _listed("ids", value, "a list of integers and strings")
    )


def payloads(value: Any) -> Payloads | None:
    return None if value is None else _listed("payloads", value, "a list with one dict or None for each vector")


def queries(value: ArrayLike) -> NDArray[np.float32]:
    """float32 (dim,) or (q, dim). Raises INVALID_VECTOR."""
    array = float32_array(value, "the query", "query")
    if array.ndim not in (1, 2):
        message = f"the query is an array of numbers with one or two dimensions, not one of shape {array.shape}"
        raise errors.INVALID_VECTOR.error(message)
    return array


def _parameter(value: Any, place: str) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu" and not is_hidden(value):
        return value
    if type(value) is list and _are_numbers(value):
        return value
    try:
        return plain(value, place)
    except NotPlain as error:
        message = f"params: the parameter {error.path} holds {error.what}"
        raise errors.INVALID_VALUE.error(message, hint=error.remedy) from None


def _are_numbers(values: list[Any]) -> bool:
    """Whether it is a vector as a rule, which is then not looked at number by number."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return bool(min(values) >= limits.ID_INT_MIN and max(values) <= limits.ID_INT_MAX)
    return kinds == {float}


def _listed(name: str, value: Any, what: str) -> list[Any]:
    is_scalar = isinstance(value, np.ndarray) and not value.ndim
    if is_scalar or isinstance(value, _NO_LISTS) or not isinstance(value, Iterable):
        _refuse(name, what, value)
    return list(value)


def _refuse(name: str, right: str, value: object) -> NoReturn:
    given = shown(value)
    kind = type(value).__name__
    told = given if value is None or kind in given else f"{given} ({kind})"
    raise errors.INVALID_PARAMETER.error(f"{name} is {right}, not {told}", argument=name)
