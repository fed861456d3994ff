"""SELECT and VECTOR SEARCH to plans."""

from __future__ import annotations

from math import isfinite
from typing import Any

from reddb import errors, limits
from reddb.grammar import ast
from reddb.index.metrics import METRICS
from reddb.query.binding import Binding, choices, is_column
from reddb.query.plan import CountPlan, GetPlan, Plan, Projection, ScanPlan, SearchPlan
from reddb.types import Collection, RowId, SearchOptions, Vectors

_SEARCH_OPTIONS = ("ef", "exact", "recall")


def bind_select(binding: Binding, statement: ast.Select) -> Plan:
    for clause in (*statement.group_by, statement.having, *statement.order[1:]):
        if clause is not None:
            binding.refuse(errors.NOT_SUPPORTED, "this clause is not supported yet", clause)
    if statement.distinct or statement.source is None:
        binding.refuse(errors.NOT_SUPPORTED, "this SELECT is not supported yet", statement)
    collection = binding.collection(statement.source)
    counts = [item for item in statement.items if item.expression == ast.Call("count", star=True)]
    if counts:
        return _count(binding, statement, collection, counts[0])
    distance = _order(binding, statement, collection)
    projection = _projection(binding, statement, has_distance=distance is not None)
    offset = binding.values.count(statement.offset, 0, limits.K_MAX, "OFFSET")
    if distance is not None:
        k = binding.values.count(_limit(binding, statement), limits.K_DEFAULT, limits.K_MAX, "LIMIT")
        if k + offset > limits.K_MAX:
            message = f"LIMIT and OFFSET of a search are together at most {limits.K_MAX}, not {k + offset}"
            binding.refuse(errors.LIMIT_EXCEEDED, message, statement.limit or statement.source)
        query = binding.values.vector(distance, collection.dim)
        options = _options(binding, statement.options, k + offset)
        predicate = binding.predicate(statement.where, collection)
        return SearchPlan(collection, query, options, offset, projection, predicate)
    if statement.options:
        binding.refuse(errors.INVALID_SETTING, "WITH belongs to a search by vector", statement.options[0])
    limit = binding.values.count(_limit(binding, statement), limits.SCAN_ROWS_MAX, limits.SCAN_ROWS_MAX, "LIMIT")
    ids = binding.ids(statement.where)
    if ids is not None:
        return GetPlan(collection, ids, limit, offset, projection)
    if statement.limit is None:
        message = "a SELECT without a vector and without ids needs a LIMIT"
        binding.refuse(errors.INVALID_VALUE, message, statement.source, f"LIMIT is at most {limits.SCAN_ROWS_MAX}")
    return ScanPlan(collection, limit, offset, projection, binding.predicate(statement.where, collection))


def bind_vector_search(binding: Binding, statement: ast.VectorSearch) -> SearchPlan:
    collection = binding.collection(statement.collection)
    columns: list[tuple[str, tuple[str, ...]]] = [("id", ("id",)), ("distance", ("distance",))]
    if statement.include_vectors:
        columns.append(("vector", ("vector",)))
    for clause in (*statement.group_by, statement.offset):
        if clause is not None:
            binding.refuse(errors.NOT_SUPPORTED, "this clause is not supported yet", clause)
    k = binding.values.count(_limit(binding, statement), limits.K_DEFAULT, limits.K_MAX, "LIMIT")
    query: Vectors | RowId
    if isinstance(statement.target, ast.StoredRows):
        binding.refuse(errors.NOT_SUPPORTED, "examples are not supported yet", statement.target)
    if isinstance(statement.target, ast.StoredRow):
        query = binding.values.row_id(statement.target.id)
    else:
        query = binding.values.vector(statement.target, collection.dim)
    if statement.metric is not None and binding.metric(statement.metric) is not collection.metric:
        message = f"{collection.name!r} is searched by its own metric, {collection.metric}"
        binding.refuse(errors.NOT_SUPPORTED, message, statement.metric)
    if statement.min_score is not None:
        message = "MIN_SCORE is not supported: what is a score differs from metric to metric"
        binding.refuse(errors.NOT_SUPPORTED, message, statement.min_score, "THRESHOLD is the largest distance")
    return SearchPlan(
        collection,
        query,
        _options(binding, statement.options, k),
        0,
        Projection(tuple(columns), all_payload=statement.include_metadata),
        binding.predicate(statement.where, collection),
        _number(binding, statement.threshold, "THRESHOLD"),
    )


def _count(binding: Binding, statement: ast.Select, collection: Collection, item: ast.SelectItem) -> CountPlan:
    if len(statement.items) > 1:
        binding.refuse(errors.NOT_SUPPORTED, "count(*) stands alone", item)
    for clause in (*statement.order, statement.limit, statement.offset, *statement.options):
        if clause is not None:
            binding.refuse(errors.NOT_SUPPORTED, "count(*) takes no ORDER BY, LIMIT, OFFSET or WITH", clause)
    name = item.alias.text if item.alias else "count"
    ids = binding.ids(statement.where)
    predicate = None if ids is not None else binding.predicate(statement.where, collection)
    return CountPlan(collection, ids, name, predicate)


def _order(binding: Binding, statement: ast.Select, collection: Collection) -> ast.Value | None:
    """The query vector of ORDER BY, or None without ORDER BY."""
    if not statement.order:
        return None
    (order,) = statement.order
    expression = order.expression
    operator = METRICS[collection.metric].operator
    if not isinstance(expression, ast.Distance):
        hint = f"ORDER BY vector {operator} $1" if operator else None
        binding.refuse(errors.NOT_SUPPORTED, "ORDER BY a column is not supported yet", expression, hint)
    if order.descending:
        binding.refuse(errors.NOT_SUPPORTED, "the farthest rows cannot be searched for", order)
    if expression.operator != operator:
        message = (
            f"{expression.operator} is not the distance of {collection.name!r}, whose metric is {collection.metric}"
        )
        hint = f"write {operator}" if operator else f"VECTOR SEARCH {collection.name} SIMILAR TO $1"
        binding.refuse(errors.NOT_SUPPORTED, message, expression, hint)
    sides = [expression.left, expression.right]
    if is_column(sides[1], "vector"):
        sides.reverse()
    if not is_column(sides[0], "vector"):
        binding.refuse(errors.UNKNOWN_COLUMN, "one side of a distance is the column vector", expression)
    if not isinstance(sides[1], ast.VectorLiteral | ast.Parameter):
        binding.refuse(errors.INVALID_VALUE, "the other side of a distance is a vector or a parameter", sides[1])
    return sides[1]


def _projection(binding: Binding, statement: ast.Select, *, has_distance: bool) -> Projection:
    columns: list[tuple[str, tuple[str, ...]]] = []
    all_payload = False
    for item in statement.items:
        if isinstance(item.expression, ast.Star):
            columns += [("id", ("id",)), ("vector", ("vector",))]
            all_payload = True
            continue
        if not isinstance(item.expression, ast.Column):
            binding.refuse(errors.NOT_SUPPORTED, "only columns can be selected yet", item)
        path = item.expression.path
        shown = ".".join(path)
        if shown == "score" or (shown == "distance" and not has_distance):
            hint = "ORDER BY vector <=> $1 gives a distance" if shown == "distance" else "smaller distance is nearer"
            binding.refuse(errors.UNKNOWN_COLUMN, f"there is no column {shown} here", item, hint)
        columns.append((item.alias.text if item.alias else shown, path))
    return Projection(tuple(columns), all_payload)


def _options(binding: Binding, options: tuple[ast.Option, ...], k: int) -> SearchOptions:
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
            hint = choices(name, _SEARCH_OPTIONS)
            binding.refuse(errors.INVALID_SETTING, f"a search has no setting {name!r}", option, hint)
    if given.get("ef") is not None and given.get("recall") is not None:
        binding.refuse(errors.INVALID_SETTING, "ef and recall say the same thing: give one of them", options[0])
    return SearchOptions(k=k, **given)


def _limit(binding: Binding, statement: ast.Select | ast.VectorSearch) -> ast.Literal | ast.Parameter | None:
    if statement.limit is None:
        return None
    if statement.limit.per_group is not None:
        binding.refuse(errors.NOT_SUPPORTED, "groups are not supported yet", statement.limit)
    return statement.limit.count


def _number(binding: Binding, node: ast.Literal | ast.Parameter | None, what: str) -> float | None:
    if node is None:
        return None
    value = binding.values.value(node)
    if type(value) not in (int, float) or not isfinite(value):
        binding.refuse(errors.INVALID_VALUE, f"{what} is a number", node)
    return float(value)
