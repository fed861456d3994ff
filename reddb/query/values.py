"""Parameters and literals as checked values, with errors that point at their place in the statement.

Invariant: every given parameter is used by the statement and every used one is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.byte_cache import STATEMENTS, tree_bytes
from reddb.coordinates import told, wrong_of
from reddb.grammar import ast, is_written_vector, located, written_coordinates, written_numbers
from reddb.types import RowId, Vectors
from reddb.wording import shown

_SHOWN_NAMES = 8  # of parameters
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_MAX = 2**24  # below it a float32 is the integer that was written

T = TypeVar("T")

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def clock_of(now_us: Callable[[], int]) -> Clock:
    """What such a clock of microseconds since 1970 says, as instants."""
    return lambda: _EPOCH + timedelta(microseconds=now_us())


class Values:
    """The values of one statement: its text, its literals and its parameters."""

    def __init__(self, text: str, statement: ast.Node, parameters: Parameters, clock: Clock = utc_now) -> None:
        """Raises INVALID_PARAMETER for a parameter that is given but not used."""
        self.parameters = parameters
        self.text = text
        self._clock = clock
        self.ids_named: dict[str, ast.Node] = {}  # families of ids that the statement names, each with a place
        self._named: dict[int | str, Any]
        if isinstance(parameters, Mapping):
            self._named = {str(name): value for name, value in parameters.items()}
        else:
            self._named = dict(enumerate(parameters, 1))
        if self._named:
            unused = self._named.keys() - self.once(_parameter_keys, statement)
            if unused:
                names = ", ".join(written_parameter(key) for key in sorted(unused, key=str)[:_SHOWN_NAMES])
                more = f" and {len(unused) - _SHOWN_NAMES} more" if len(unused) > _SHOWN_NAMES else ""
                raise errors.INVALID_PARAMETER.error(f"the statement does not use the parameter {names}{more}")

    @cached_property
    def now(self) -> datetime:
        """One instant for the whole statement, in UTC."""
        return self._clock()

    def error(self, code: errors.ErrorCode, message: str, node: ast.Node, hint: str | None = None) -> errors.RedDBError:
        """An error that points at the node."""
        return located(code, message, self.text, node.span, hint)

    def once(self, work: Callable[..., T], node: ast.Node, *of: object) -> T:
        """What `work` gives for the node, and for what else it is about, whatever the parameters are.

        It is kept for as long as the parsed statement is.
        """
        if len(self.text) > limits.STATEMENT_CACHE_TEXT_BYTES_MAX:
            return work(node, *of)
        key = (work, *map(_Same, (node, *of)))
        kept: tuple[T] | None = STATEMENTS.get(key)
        if kept is None:
            kept = (work(node, *of),)
            STATEMENTS.put(key, kept, tree_bytes(self.text))
        return kept[0]

    def written(self, node: ast.Node) -> str:
        """The node as the statement has it, its white space in one piece."""
        return " ".join(self.text[node.span.start : node.span.end].split())

    def value(self, node: ast.Value) -> Any:
        """The plain value: None, bool, int, float, str, a list, or a float32 array for a vector."""
        if isinstance(node, ast.Literal):
            return node.value
        if isinstance(node, ast.VectorLiteral):
            return node.array
        if isinstance(node, ast.ListLiteral):
            return [self.value(item) for item in node.items]
        if node.key not in self._named:
            raise self.error(errors.INVALID_PARAMETER, f"no value is given for {written_parameter(node.key)}", node)
        return self._named[node.key]

    def plain(self, node: ast.Value) -> Any:
        """The same as a value of a payload: a list of numbers is a list, of integers where all of them are whole.

        Numbers that are written out are read again, for a vector's coordinates have lost digits.
        """
        if isinstance(node, ast.VectorLiteral):
            return self._written_numbers(node)
        value = self.value(node)
        if not isinstance(value, np.ndarray):
            return value
        numbers = value.tolist()
        whole = all(float(number).is_integer() and abs(number) < _WHOLE_MAX for number in numbers)
        return [int(number) for number in numbers] if whole else numbers

    def _written_numbers(self, node: ast.VectorLiteral) -> list[int | float]:
        try:
            numbers = written_numbers(self.text[node.span.start : node.span.end])
        except ValueError:
            raise self.error(errors.INVALID_VALUE, "a number is beyond the range of a 64-bit float", node) from None
        if not all(limits.ID_INT_MIN <= item <= limits.ID_INT_MAX for item in numbers if type(item) is int):
            raise self.error(errors.INVALID_VALUE, "an integer does not fit 64 bits", node)
        return numbers

    def vector(self, node: ast.Value, dim: int) -> Vectors:
        """A finite float32 (1, dim); a string like '[1, 2, 3]' is read as a vector, and any dimension is right for 0.

        Raises INVALID_VALUE, INVALID_DIMENSION or INVALID_VECTOR.
        """
        value = self.value(node)
        try:
            given = _numbers_of(value) if isinstance(value, str) else np.asarray(value)
        except ValueError:  # no numbers, or lists of several lengths
            given = np.empty((0, 0))
        if given.ndim != 1 or (given.dtype.kind not in "fiu" and len(given)):
            hint = "a string that is a vector looks like '[1, 2.5, -3]'" if isinstance(value, str) else None
            raise self.error(errors.INVALID_VALUE, f"a vector is expected here, not {_described(value)}", node, hint)
        if not len(given):
            raise self.error(errors.INVALID_DIMENSION, "a vector has at least one dimension", node)
        if dim and len(given) != dim:
            message = f"the collection has {dim} dimensions, this vector has {len(given)}"
            raise self.error(errors.INVALID_DIMENSION, message, node)
        with np.errstate(over="ignore"):  # an infinity is refused below
            vector = np.ascontiguousarray(given, np.float32).reshape(1, -1)
        wrong = wrong_of(vector)
        if wrong is not None:
            self._refuse_coordinate(node, wrong.coordinate, given)
        return vector

    def _refuse_coordinate(self, node: ast.Value, coordinate: int | None, given: NDArray[Any]) -> NoReturn:
        """As it is written, and at its own place, where it is written out."""
        value: Any = given[coordinate or 0]
        text = self.value(node)
        if coordinate is not None and isinstance(node, ast.VectorLiteral):
            value, span = written_coordinates(self.text, node.span)[coordinate]
            node = ast.Literal(None, span=span)
        elif coordinate is not None and isinstance(text, str):
            value, _ = written_coordinates(text, ast.Span(0, len(text)))[coordinate]
        message, hint = told(coordinate, value)
        raise self.error(errors.INVALID_VECTOR, message, node, hint)

    def row_id(self, node: ast.Value) -> RowId:
        """Raises INVALID_ID unless the value is a 64-bit integer or a string of a valid length."""
        return self._checked_id(self.value(node), node)

    def _checked_id(self, value: Any, node: ast.Value) -> RowId:
        if type(value) is int and limits.ID_INT_MIN <= value <= limits.ID_INT_MAX:
            return value
        if type(value) is str and _is_id_text(value):
            return value
        message = f"an id is a 64-bit integer or a string of 1 to {limits.ID_BYTES_MAX} bytes, not {_described(value)}"
        raise self.error(errors.INVALID_ID, message, node)

    def row_ids(self, node: ast.Value) -> list[RowId]:
        """One id, or the ids of a list that came as a parameter."""
        value = self.value(node)
        if isinstance(node, ast.Parameter) and isinstance(value, list | tuple | np.ndarray):
            return [self._checked_id(item, node) for item in self.plain(node)]
        return [self.row_id(node)]

    def count(self, node: ast.Value | None, default: int, maximum: int, what: str) -> int:
        """A LIMIT or OFFSET: an integer from 0 to `maximum`. Raises INVALID_VALUE or LIMIT_EXCEEDED."""
        if node is None:
            return default
        value = self.value(node)
        if type(value) is not int or value < 0:
            raise self.error(errors.INVALID_VALUE, f"{what} is an integer from 0, not {_described(value)}", node)
        if value > maximum:
            raise self.error(errors.LIMIT_EXCEEDED, f"{what} is at most {maximum}, not {value}", node)
        return value


def parameter_keys(statement: ast.Node) -> list[int | str]:
    """What a statement wants values for: all numbers up to the highest, or the names in the order they appear."""
    keys = list(dict.fromkeys(node.key for node in ast.walk(statement) if isinstance(node, ast.Parameter)))
    numbers = [key for key in keys if isinstance(key, int)]
    return list(range(1, max(numbers) + 1)) if numbers else keys


def _numbers_of(text: str) -> NDArray[np.float64]:
    """The numbers of a vector that is written as a text. Raises ValueError."""
    written = text.strip(" \t\r\n")
    if not is_written_vector(written):
        raise ValueError
    return np.array(written[1:-1].split(","), np.float64)


class _Same:
    """A thing as the key of a cache, equal to itself alone: comparing trees would cost more than what is kept saves."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _parameter_keys(statement: ast.Node) -> frozenset[int | str]:
    return frozenset(node.key for node in ast.walk(statement) if isinstance(node, ast.Parameter))


def _is_id_text(text: str) -> bool:
    try:
        return 1 <= len(text.encode()) <= limits.ID_BYTES_MAX
    except UnicodeEncodeError:
        return False


def written_parameter(key: int | str) -> str:
    """As it stands in a statement."""
    return f"${key}" if isinstance(key, int) else f":{key}"


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a vector of {len(value)}"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "NULL" if value is None else shown(value)
