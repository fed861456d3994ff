"""Functions that choose, row by row, among the values of their arguments, or join them: binding and evaluation.

Each argument may have any family in a row; what is chosen keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query.bound import ANY, Binder, Bound, in_words
from reddb.query.evaluate import compare
from reddb.query.numbers import widened
from reddb.query.operands import NULL, NUMBERS, VECTOR, Operand, Source, Values, decoded, is_true, present
from reddb.storage.payload_columns import ARROW_TYPES, Family

INT = frozenset[str]({Family.INT})


@dataclass(frozen=True, slots=True)
class Coalesce:
    """The first that is not NULL."""

    operands: tuple[Operand, ...]

    def values(self, source: Source) -> Values:
        def first(one: Values, other: Values) -> Values:
            return _chosen(present(one, source.rows), one, other)

        return reduce(first, (operand.values(source) for operand in self.operands))

    def __str__(self) -> str:
        return f"coalesce({_listed(self.operands)})"


@dataclass(frozen=True, slots=True)
class NullIf:
    """The first, NULL where it equals the second."""

    operand: Operand
    other: Operand

    def values(self, source: Source) -> Values:
        values = self.operand.values(source)
        equal = is_true(compare("=", values, self.other.values(source)), source.rows)
        return _chosen(~equal, values, {})

    def __str__(self) -> str:
        return f"nullif({self.operand}, {self.other})"


@dataclass(frozen=True, slots=True)
class Extreme:
    """The largest, by `>`, or the smallest, by `<`; a NULL is passed over, what does not compare gives NULL."""

    operator: str
    operands: tuple[Operand, ...]

    def values(self, source: Source) -> Values:
        first, *others = (operand.values(source) for operand in self.operands)
        best = first
        meets = np.ones(source.rows, np.bool_)
        for other in others:
            truth = compare(self.operator, best, other)
            is_best, is_other = present(best, source.rows), present(other, source.rows)
            meets &= is_true(pc.is_valid(truth), source.rows) | ~(is_best & is_other)
            best = _chosen(is_true(truth, source.rows) | (is_best & ~is_other), best, other)
        return best if meets.all() else _chosen(meets, best, {})

    def __str__(self) -> str:
        return f"{'greatest' if self.operator == '>' else 'least'}({_listed(self.operands)})"


@dataclass(frozen=True, slots=True)
class Widened:
    """Integers as floats, but for those that no float is: these stay."""

    operand: Operand

    def values(self, source: Source) -> Values:
        values = self.operand.values(source)
        return widened(values[Family.INT]) if Family.INT in values else values

    def __str__(self) -> str:
        return str(self.operand)


@dataclass(frozen=True, slots=True)
class Concat:
    """The texts one behind the other; a NULL is passed over, and so is what is no text."""

    operands: tuple[Operand, ...]

    def values(self, source: Source) -> Values:
        nothing = pa.scalar("", ARROW_TYPES[Family.TEXT])
        texts = [pa.repeat(nothing, source.rows)]  # so that the rows are as many, whatever is given
        for operand in self.operands:
            given = operand.values(source).get(Family.TEXT, nothing)
            texts.append(pc.coalesce(_typed(given, Family.TEXT), nothing))
        self._check_lengths(texts)
        return {Family.TEXT: pc.binary_join_element_wise(*texts, nothing)}

    def _check_lengths(self, texts: Sequence[Any]) -> None:
        """Raises TOO_LARGE before the memory is taken."""
        length: Any = 0
        for text in texts:
            length = pc.add(length, pc.binary_length(text))
        longest = pc.max(length).as_py() or 0
        if longest > limits.TEXT_BYTES_MAX:
            message = f"a text of {longest} bytes in {self._described()}; TEXT_BYTES_MAX is {limits.TEXT_BYTES_MAX}"
            raise errors.TOO_LARGE.error(message)

    def _described(self) -> str:
        return f"concat of {len(self.operands)} texts"

    def __str__(self) -> str:
        return f"concat({_listed(self.operands)})"


def _chosen(where: NDArray[np.bool_], one: Values, other: Values) -> Values:
    """The values of `one` in those rows, (rows,), else those of `other`."""
    mask = pa.array(where)
    chosen: dict[str, Any] = {}
    for family in one.keys() | other.keys():
        nothing = pa.scalar(None, ARROW_TYPES[Family(family)])
        chosen[family] = pc.if_else(mask, *(_typed(values.get(family, nothing), family) for values in (one, other)))
    return chosen


def _typed(values: Any, family: str) -> Any:
    """Ids and dictionaries of texts have types of their own."""
    return pc.cast(decoded(values), ARROW_TYPES[Family(family)])


def _listed(operands: tuple[Operand, ...]) -> str:
    return ", ".join(map(str, operands))


# --- binding -----------------------------------------------------------------------------------------------


def bind_coalesce(binder: Binder, node: ast.Call) -> Bound:
    operands, families = _alike(binder, node.arguments)
    return Bound(Coalesce(operands), node, families, in_words(families))


def bind_extreme(operator: str) -> Callable[[Binder, ast.Call], Bound]:
    def bind(binder: Binder, node: ast.Call) -> Bound:
        operands, families = _alike(binder, node.arguments)
        return Bound(Extreme(operator, operands), node, families, in_words(families))

    return bind


def bind_nullif(binder: Binder, node: ast.Call) -> Bound:
    one, other = map(binder.bind, node.arguments)
    one, other = binder.meet(one, other), binder.meet(other, one)
    binder.check_comparable(one, other)
    return Bound(NullIf(one.operand, other.operand), node, one.families, one.type)


def bind_concat(binder: Binder, node: ast.Call) -> Bound:
    arguments = [binder.bind(argument) for argument in node.arguments]
    for argument in arguments:
        if Family.TEXT not in argument.families:
            message = f"concat takes TEXT, and {argument.operand} is {argument.type}"
            binder.refuse(errors.INVALID_VALUE, message, argument.node, f"CAST({argument.operand} AS TEXT)")
    return Bound(Concat(tuple(item.operand for item in arguments)), node, frozenset({Family.TEXT}), "TEXT")


def _alike(binder: Binder, nodes: tuple[ast.Expression, ...]) -> tuple[tuple[Operand, ...], frozenset[str]]:
    """Arguments that can stand for each other: all compare, and an INT beside a FLOAT becomes one if it can exactly."""
    arguments = [binder.bind(node) for node in nodes]
    first = next((item for item in arguments if item.families == {Family.TIMESTAMP}), arguments[0])
    arguments = [binder.meet(item, first) for item in arguments]
    first = next((item for item in arguments if item.operand != NULL), arguments[0])
    for argument in arguments:
        if not (argument.families & first.families):
            binder.check_comparable(first, argument)
        if VECTOR in argument.families:
            binder.refuse(errors.INVALID_VALUE, "a vector stands in a distance only", argument.node)
    given = [item for item in arguments if item.operand != NULL]
    families = frozenset[str]().union(*(item.families for item in given)) if given else ANY
    if families == NUMBERS and all(len(item.families) == 1 for item in given):
        return tuple(_widened(item) for item in arguments), families
    return tuple(item.operand for item in arguments), families


def _widened(bound: Bound) -> Operand:
    return Widened(bound.operand) if bound.families == INT else bound.operand
