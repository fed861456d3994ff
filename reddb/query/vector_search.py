"""VECTOR SEARCH to plans."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.bound import Scope
from reddb.query.evaluate import Compare
from reddb.query.nearness import farthest
from reddb.query.operands import Column, Constant, columns
from reddb.query.ordering import OrderKey
from reddb.query.predicate import Predicate
from reddb.query.read_plans import (
    ALL_KEYS,
    Examples,
    Nearest,
    Path,
    Projection,
    ReadPlan,
    SearchPlan,
    Selection,
    SelectPlan,
)
from reddb.query.search_options import bind_options, refuse_options
from reddb.query.selections import per_group_of
from reddb.storage.payload_columns import Family
from reddb.types import Collection, Metric, RowId, Vectors


def bind_vector_search(binding: Binding, statement: ast.VectorSearch) -> ReadPlan:
    """The plan of a VECTOR SEARCH. Raises an input error that points at the place."""
    collection = binding.collection(statement.collection)
    statement = binding.resolved(statement, collection)
    metric = collection.metric if statement.metric is None else binding.metric(statement.metric)
    query = _query(binding, statement.target, collection)
    left_out = len(query.ids) if isinstance(query, Examples) else 0
    projection = _projection(statement)
    predicate = binding.predicate(statement.where, collection)
    distance_max = _distance_max(binding, statement, metric)
    limit = None if statement.limit is None else binding.values.count(statement.limit.count, 0, limits.K_MAX, "LIMIT")
    offset = binding.values.count(statement.offset, 0, limits.K_MAX, "OFFSET")
    if not statement.group_by and statement.limit is not None and statement.limit.per_group is not None:
        hint = "GROUP BY field LIMIT n PER GROUP m"
        binding.refuse(errors.INVALID_VALUE, "PER GROUP needs a GROUP BY", statement.limit, hint)
    order = OrderKey(Column("distance")), OrderKey(Column("id"))
    selection = Selection(projection, limit, offset, _within(distance_max), order=order)
    if statement.group_by:
        return _grouped(binding, statement, collection, Nearest(query, metric), predicate, selection)
    if metric is not collection.metric or (limit is None and distance_max is not None):
        refuse_options(binding, statement.options, has_distance=True)
        if limit is None and distance_max is None:
            selection = replace(selection, limit=limits.K_DEFAULT)
        return SelectPlan(collection, selection, None, predicate, Nearest(query, metric))
    k = (limits.K_DEFAULT if limit is None else limit) + offset + left_out
    if k > limits.K_MAX:
        message = f"LIMIT, OFFSET and examples of a search are together at most {limits.K_MAX}, not {k}"
        binding.refuse(errors.LIMIT_EXCEEDED, message, statement.limit or statement.target)
    options = bind_options(binding, statement.options, k)
    return SearchPlan(collection, query, options, offset, projection, predicate, distance_max)


def _grouped(
    binding: Binding,
    statement: ast.VectorSearch,
    collection: Collection,
    nearest: Nearest,
    predicate: Predicate | None,
    selection: Selection,
) -> SelectPlan:
    """GROUP BY: the nearest row of each of the nearest groups, or so many PER GROUP."""
    groups = limits.K_DEFAULT if selection.limit is None else selection.limit
    given = statement.limit.per_group if statement.limit is not None else None
    rows = binding.values.count(given, 1, limits.K_MAX, "PER GROUP")
    names = Scope(collection.fields, collection.metric, collection.dim)
    per_group = per_group_of(binding, statement.limit or statement.group_by[0], statement.group_by, names, groups, rows)
    if nearest.metric is collection.metric:
        nearest = replace(nearest, options=bind_options(binding, statement.options, 0))
    else:
        refuse_options(binding, statement.options, has_distance=True)
    return SelectPlan(collection, replace(selection, limit=groups, per_group=per_group), None, predicate, nearest)


def _query(
    binding: Binding, target: ast.Expression | ast.StoredRow | ast.StoredRows, collection: Collection
) -> Vectors | RowId | Examples:
    match target:
        case ast.StoredRow():
            return binding.values.row_id(target.id)
        case ast.StoredRows():
            like = _ids(binding, target.like)
            if not like:
                binding.refuse(errors.INVALID_VALUE, "there must be rows to be like", target, "SIMILAR TO ID (1, 2)")
            return Examples(like, _ids(binding, target.unlike))
        case ast.VectorLiteral() | ast.Parameter():
            return binding.values.vector(target, collection.dim)
    raise AssertionError(target)


def _ids(binding: Binding, nodes: tuple[ast.Literal | ast.Parameter, ...]) -> tuple[RowId, ...]:
    """Each once: said twice, an example weighs no more."""
    return tuple(dict.fromkeys(row_id for node in nodes for row_id in binding.values.row_ids(node)))


def _projection(statement: ast.VectorSearch) -> Projection:
    columns: list[tuple[str, Path]] = [("id", ("id",)), ("distance", ("distance",))]
    if statement.include_vectors:
        columns.append(("vector", ("vector",)))
    if statement.include_metadata:
        columns.append(ALL_KEYS)
    return Projection(tuple(columns))


def _within(distance_max: float | None) -> Predicate | None:
    if distance_max is None:
        return None
    condition = Compare("<=", Column("distance"), Constant(Family.FLOAT, distance_max))
    return Predicate(condition, frozenset(columns(condition)))


def _distance_max(binding: Binding, statement: ast.VectorSearch, metric: Metric) -> float | None:
    """How far rows may be; THRESHOLD and MIN_SCORE say it both."""
    threshold = _number(binding, statement.threshold, "THRESHOLD")
    score = _number(binding, statement.min_score, "MIN_SCORE")
    if score is None:
        return threshold
    reach = farthest(metric, score)
    return reach if threshold is None else min(reach, threshold)


def _number(binding: Binding, node: ast.Literal | ast.Parameter | None, what: str) -> float | None:
    if node is None:
        return None
    value = binding.values.value(node)
    if type(value) not in (int, float) or not isfinite(value):
        binding.refuse(errors.INVALID_VALUE, f"{what} is a number", node)
    return float(value)
