"""The functions of the language, in one table: binding, hints for misspelt names and documents come from it.

A function of one argument and constants is a row of kernels by family; one that looks at its arguments as expressions
binds itself. NULL gives NULL unless the text of the function says otherwise, and so do the values of a free key that
the function does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow.compute as pc

from reddb import errors
from reddb.grammar import MOMENTS, absent, ast
from reddb.keys import nearest
from reddb.query.arithmetic import checked
from reddb.query.bound import Binder, Bound, in_words
from reddb.query.choices import bind_coalesce, bind_concat, bind_extreme, bind_nullif
from reddb.query.operands import NULL, Constant, Operand, Source, Values, each
from reddb.query.vectors import bind_dims, bind_distance_by, bind_norm, bind_own_distance, bind_similarity
from reddb.storage.payload_columns import ARROW_TYPES, Family
from reddb.types import Metric

Kernel: TypeAlias = Callable[..., Any]  # of an array or a scalar, and of the constants behind it
Bind: TypeAlias = Callable[[Binder, ast.Call], Bound]

AGGREGATES = frozenset({"count", "sum", "avg", "min", "max"})

_DIGITS_MAX = 15  # of a decimal fraction that a float holds


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `most` is the largest number of arguments, None for any; `aliases` are its other names."""

    name: str
    signature: str
    text: str
    least: int
    most: int | None
    bind: Bind
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """A function of kernels: for each family that it takes, its result's family and the kernel."""

    name: str
    operand: Operand
    constants: tuple[int, ...] = ()

    def values(self, source: Source) -> Values:
        cases = _KERNELS[self.name]
        found: dict[str, Any] = {}
        for family, array in self.operand.values(source).items():
            if family in cases:
                result, kernel = cases[family]
                part = self._part(result, kernel, array)
                found[result] = pc.coalesce(found[result], part) if result in found else part
        return found

    def _part(self, result: Family, kernel: Kernel, array: Any) -> Any:
        def apply() -> Any:
            return pc.cast(each(kernel, array, *self.constants), ARROW_TYPES[result])

        return checked(apply, self)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, (self.operand, *self.constants)))})"


def _rounded(array: Any, digits: int = 0) -> Any:
    return pc.round(array, digits, "half_towards_infinity")


def _same(array: Any) -> Any:
    return array


_KERNELS: dict[str, Mapping[str, tuple[Family, Kernel]]] = {
    "lower": {Family.TEXT: (Family.TEXT, pc.utf8_lower)},
    "upper": {Family.TEXT: (Family.TEXT, pc.utf8_upper)},
    "length": {Family.TEXT: (Family.INT, pc.utf8_length)},
    "abs": {Family.INT: (Family.INT, pc.abs_checked), Family.FLOAT: (Family.FLOAT, pc.abs)},
    "round": {Family.INT: (Family.INT, _rounded), Family.FLOAT: (Family.FLOAT, _rounded)},
    "floor": {Family.INT: (Family.INT, _same), Family.FLOAT: (Family.FLOAT, pc.floor)},
    "ceil": {Family.INT: (Family.INT, _same), Family.FLOAT: (Family.FLOAT, pc.ceil)},
    "cardinality": {
        Family.TEXTS: (Family.INT, pc.list_value_length),
        Family.INTS: (Family.INT, pc.list_value_length),
    },
}


# --- binding -----------------------------------------------------------------------------------------------


def bind_call(binder: Binder, node: ast.Call) -> Bound:
    """Raises INVALID_VALUE for an unknown name and for arguments that the function does not take."""
    if node.name in AGGREGATES:
        binder.refuse(errors.INVALID_VALUE, "an aggregate stands in SELECT, HAVING or ORDER BY", node)
    function = _BY_NAME.get(node.name)
    if function is None and node.name in MOMENTS:
        message = f"there is no type for what {node.name} gives: a TIMESTAMP is an instant, with a time zone"
        binder.refuse(errors.INVALID_VALUE, message, node, "now() is the instant at which the statement began")
    if function is None:
        hint = absent.FUNCTIONS.get(node.name) or nearest(node.name, [*_BY_NAME, *AGGREGATES])
        binder.refuse(errors.INVALID_VALUE, f"there is no function {node.name}", node, hint)
    given = len(node.arguments)
    if node.star or node.distinct or given < function.least or (function.most is not None and given > function.most):
        number = "*" if node.star else "DISTINCT" if node.distinct else str(given)
        message = f"{node.name} takes {_counted(function)}, not {number}"
        binder.refuse(errors.INVALID_VALUE, message, node, f"{function.signature}: {function.text}")
    return function.bind(binder, node)


def _counted(function: Function) -> str:
    least, most = function.least, function.most
    if most is None:
        return f"{least} or more arguments"
    numbers = str(least) if least == most else f"{least} or {most}" if most == least + 1 else f"{least} to {most}"
    return f"{numbers} argument{'' if numbers == '1' else 's'}" if most else "no arguments"


def _bind_applied(binder: Binder, node: ast.Call) -> Bound:
    name = _BY_NAME[node.name].name
    cases = _KERNELS[name]
    bound = binder.bind(node.arguments[0])
    families = frozenset[str](cases[family][0] for family in bound.families if family in cases)
    if not families:
        message = f"{node.name} takes {in_words(frozenset(cases))}, and {bound.operand} is {bound.type}"
        binder.refuse(errors.INVALID_VALUE, message, node.arguments[0], _BY_NAME[node.name].signature)
    digits = tuple(_digits(binder, argument) for argument in node.arguments[1:])
    operand = NULL if bound.operand == NULL else Applied(name, bound.operand, digits)
    return Bound(operand, node, families, in_words(families))


def _digits(binder: Binder, node: ast.Expression) -> int:
    bound = binder.bind(node)
    value = bound.operand.value if isinstance(bound.operand, Constant) else None
    if type(value) is not int or abs(value) > _DIGITS_MAX:
        message = f"the digits to round to are a constant from -{_DIGITS_MAX} to {_DIGITS_MAX}"
        binder.refuse(errors.INVALID_VALUE, message, node)
    return value


def _bind_now(binder: Binder, node: ast.Call) -> Bound:
    return binder.constant(binder.values.now, node)


# --- the table ---------------------------------------------------------------------------------------------


FUNCTIONS = (
    Function("lower", "lower(text)", "The text in small letters, letter by letter.", 1, 1, _bind_applied),
    Function("upper", "upper(text)", "The text in capitals, letter by letter.", 1, 1, _bind_applied),
    Function("length", "length(text)", "The number of characters.", 1, 1, _bind_applied, ("char_length",)),
    Function("concat", "concat(text, …)", "The texts joined; a NULL is passed over.", 1, None, bind_concat),
    Function("abs", "abs(number)", "The number without its sign.", 1, 1, _bind_applied),
    Function("round", "round(number [, digits])", "Rounded, halves away from zero.", 1, 2, _bind_applied),
    Function("floor", "floor(number)", "The next whole number below.", 1, 1, _bind_applied),
    Function("ceil", "ceil(number)", "The next whole number above.", 1, 1, _bind_applied, ("ceiling",)),
    Function("cardinality", "cardinality(array)", "The number of items of a TEXT[] or INT[].", 1, 1, _bind_applied),
    Function("coalesce", "coalesce(value, …)", "The first that is not NULL.", 1, None, bind_coalesce),
    Function("nullif", "nullif(value, other)", "The value, NULL where it equals the other.", 2, 2, bind_nullif),
    Function("greatest", "greatest(value, …)", "The largest; a NULL is passed over.", 1, None, bind_extreme(">")),
    Function("least", "least(value, …)", "The smallest; a NULL is passed over.", 1, None, bind_extreme("<")),
    Function("now", "now()", "The instant at which the statement began.", 0, 0, _bind_now, ("current_timestamp",)),
    Function("l2_distance", "l2_distance(vector, v)", "`vector <-> v`", 2, 2, bind_distance_by(Metric.L2)),
    Function("cosine_distance", "cosine_distance(vector, v)", "`vector <=> v`", 2, 2, bind_distance_by(Metric.COSINE)),
    Function("l1_distance", "l1_distance(vector, v)", "`vector <+> v`", 2, 2, bind_distance_by(Metric.MANHATTAN)),
    Function(
        "inner_product", "inner_product(vector, v)", "`-(vector <#> v)`", 2, 2, bind_distance_by(Metric.IP, sign=-1)
    ),
    Function("vector_distance", "vector_distance(vector, v)", "By the collection's metric.", 2, 2, bind_own_distance),
    Function(
        "similarity",
        "similarity([vector, v])",
        "The score of that distance; without arguments that of the search, the column `score`.",
        0,
        2,
        bind_similarity,
    ),
    Function("vector_dims", "vector_dims(vector)", "The number of dimensions.", 1, 1, bind_dims),
    Function("vector_norm", "vector_norm(vector)", "The length by l2.", 1, 1, bind_norm, ("l2_norm",)),
)
_BY_NAME = {name: function for function in FUNCTIONS for name in (function.name, *function.aliases)}
