"""Syntax tree and parameters to a plan: names are looked up, values checked, defaults put in.

What the grammar reads but nothing can do yet is refused here by name (NOT_SUPPORTED); no clause is ever ignored.

Invariant: binding changes nothing and looks at no row.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

import numpy as np

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query.plan import (
    CountPlan,
    CreatePlan,
    DropPlan,
    GetPlan,
    Plan,
    Projection,
    ScanPlan,
    SearchPlan,
    ShowPlan,
    WriteKind,
    WritePlan,
)
from reddb.query.values import Parameters, Values
from reddb.rows import RowBatch, id_column, make_batch
from reddb.settings import resolve
from reddb.types import METRIC_ALIASES, RESERVED_NAMES, Collection, Kind, Metric, RowId, SearchOptions, Vectors

_OPERATOR_OF = {Metric.L2: "<->", Metric.COSINE: "<=>", Metric.IP: "<#>"}
_FILTER_HINT = "WHERE can be id = … or id IN (…)"


def bind(statement: ast.Statement, text: str, parameters: Parameters, catalog: Mapping[str, Collection]) -> Plan:
    """Make the plan of a statement. Raises an input error that points at the place in `text`."""
    return _Binder(Values(text, statement, parameters), catalog).bind(statement)


class _Binder:
    def __init__(self, values: Values, catalog: Mapping[str, Collection]) -> None:
        self._values = values
        self._catalog = catalog

    def bind(self, statement: ast.Statement) -> Plan:
        match statement:
            case ast.CreateCollection():
                return self._create(statement)
            case ast.DropCollection():
                return DropPlan(statement.name.text, statement.if_exists)
            case ast.ShowCollections():
                return ShowPlan(None)
            case ast.ShowCollection():
                return ShowPlan(self._collection(statement.name).name)
            case ast.Insert():
                return self._insert(statement)
            case ast.Delete():
                return self._delete(statement)
            case ast.Select():
                return self._select(statement)
            case ast.VectorSearch():
                return self._vector_search(statement)

    # --- definitions ---------------------------------------------------------------------------------------

    def _create(self, statement: ast.CreateCollection) -> CreatePlan:
        dim = self._values.count(statement.dim, 0, limits.DIM_MAX, "DIM")
        if dim == 0:
            self._refuse(errors.INVALID_VALUE, f"DIM is an integer from 1 to {limits.DIM_MAX}", statement.dim)
        given = {option.name.text: self._values.value(option.value) for option in statement.options}
        try:
            settings = resolve(given, dim)
        except errors.RedDBError as error:
            wrong = next(option for option in statement.options if option.name.text == error.detail["setting"])
            self._refuse(error.code, error.message, wrong, error.detail.get("hint"))
        return CreatePlan(
            name=self._name(statement.name),
            kind=self._kind(statement.kind),
            dim=dim,
            metric=Metric.COSINE if statement.metric is None else self._metric(statement.metric),
            settings=settings,
            if_not_exists=statement.if_not_exists,
        )

    def _name(self, name: ast.Identifier) -> str:
        if not name.text.isprintable():
            self._refuse(errors.INVALID_NAME, "a name has printable characters only", name)
        return name.text

    def _kind(self, kind: ast.Identifier) -> Kind:
        if kind.text in set(Kind):
            return Kind(kind.text)
        self._refuse(errors.INVALID_VALUE, f"there is no kind {kind.text!r}", kind, _choices(kind.text, list(Kind)))

    def _metric(self, metric: ast.Identifier) -> Metric:
        if metric.text in METRIC_ALIASES:
            return METRIC_ALIASES[metric.text]
        if metric.text in set(Metric):
            return Metric(metric.text)
        names = [*Metric, *METRIC_ALIASES]
        self._refuse(errors.INVALID_VALUE, f"there is no metric {metric.text!r}", metric, _choices(metric.text, names))

    # --- writes --------------------------------------------------------------------------------------------

    def _insert(self, statement: ast.Insert) -> WritePlan:
        collection = self._collection(statement.collection)
        names = [column.text for column in statement.columns]
        for wanted in ("id", "vector"):
            if wanted not in names:
                message = f"INSERT needs the column {wanted}"
                self._refuse(
                    errors.UNKNOWN_COLUMN, message, statement.collection, "INSERT INTO c (id, vector, …) VALUES …"
                )
        for column in statement.columns:
            if column.text in RESERVED_NAMES - {"id", "vector"}:
                self._refuse(errors.UNKNOWN_COLUMN, f"the column {column.text} is computed, not stored", column)
        ids: list[RowId] = []
        vectors: list[Vectors] = []
        payloads: list[dict[str, Any]] = []
        for row in statement.rows:
            cells = dict(zip(names, row, strict=True))
            ids.append(self._values.row_id(cells.pop("id")))
            vectors.append(self._values.vector(cells.pop("vector"), collection.dim))
            values = {name: self._payload_value(node) for name, node in cells.items()}
            payloads.append({name: value for name, value in values.items() if value is not None})
        batch = make_batch(ids, np.concatenate(vectors), payloads if any(payloads) else None)
        return WritePlan(collection, WriteKind.UPSERT if statement.upsert else WriteKind.INSERT, batch)

    def _payload_value(self, node: ast.Value) -> Any:
        value = self._values.value(node)
        return value.tolist() if isinstance(value, np.ndarray) else value

    def _delete(self, statement: ast.Delete) -> WritePlan:
        collection = self._collection(statement.collection)
        if statement.where is None:
            hint = "DELETE FROM c WHERE id = …; DROP COLLECTION removes everything"
            self._refuse(errors.NOT_SUPPORTED, "DELETE needs a WHERE", statement.collection, hint)
        ids = self._ids(statement.where)
        return WritePlan(collection, WriteKind.DELETE, RowBatch(id_column(ids), np.empty((len(ids), 0), np.float32)))

    # --- reads ---------------------------------------------------------------------------------------------

    def _select(self, statement: ast.Select) -> Plan:
        collection = self._collection(statement.collection)
        counts = [item for item in statement.items if isinstance(item.expression, ast.CountStar)]
        if counts:
            return self._count(statement, collection, counts[0])
        distance = self._order(statement, collection)
        projection = self._projection(statement, has_distance=distance is not None)
        offset = self._values.count(statement.offset, 0, limits.K_MAX, "OFFSET")
        if distance is not None:
            if statement.where is not None:
                self._refuse_filter(statement.where)
            k = self._values.count(statement.limit, limits.K_DEFAULT, limits.K_MAX, "LIMIT")
            if k + offset > limits.K_MAX:
                message = f"LIMIT and OFFSET of a search are together at most {limits.K_MAX}, not {k + offset}"
                self._refuse(errors.LIMIT_EXCEEDED, message, statement.limit or statement.collection)
            query = self._values.vector(distance, collection.dim)
            return SearchPlan(collection, query, self._options(statement.options, k + offset), offset, projection)
        if statement.options:
            self._refuse(errors.INVALID_SETTING, "WITH belongs to a search by vector", statement.options[0])
        limit = self._values.count(statement.limit, limits.SCAN_ROWS_MAX, limits.SCAN_ROWS_MAX, "LIMIT")
        if statement.where is not None:
            return GetPlan(collection, self._ids(statement.where), limit, offset, projection)
        if statement.limit is None:
            message = "a SELECT without a vector and without WHERE needs a LIMIT"
            self._refuse(
                errors.INVALID_VALUE, message, statement.collection, f"LIMIT is at most {limits.SCAN_ROWS_MAX}"
            )
        return ScanPlan(collection, limit, offset, projection)

    def _count(self, statement: ast.Select, collection: Collection, item: ast.SelectItem) -> CountPlan:
        if len(statement.items) > 1:
            self._refuse(errors.NOT_SUPPORTED, "count(*) stands alone", item)
        for clause in (statement.order, statement.limit, statement.offset, *statement.options):
            if clause is not None:
                self._refuse(errors.NOT_SUPPORTED, "count(*) takes no ORDER BY, LIMIT, OFFSET or WITH", clause)
        ids = None if statement.where is None else self._ids(statement.where)
        return CountPlan(collection, ids, item.alias.text if item.alias else "count")

    def _vector_search(self, statement: ast.VectorSearch) -> SearchPlan:
        collection = self._collection(statement.collection)
        if statement.where is not None:
            self._refuse_filter(statement.where)
        columns = [("id", "id"), ("distance", "distance")]
        if statement.include_vectors:
            columns.append(("vector", "vector"))
        k = self._values.count(statement.limit, limits.K_DEFAULT, limits.K_MAX, "LIMIT")
        query: Vectors | RowId
        if isinstance(statement.target, ast.StoredRow):
            query = self._values.row_id(statement.target.id)
        else:
            query = self._values.vector(statement.target, collection.dim)
        projection = Projection(tuple(columns), all_payload=statement.include_metadata)
        return SearchPlan(collection, query, self._options(statement.options, k), 0, projection)

    def _order(self, statement: ast.Select, collection: Collection) -> ast.Value | None:
        """The query vector of ORDER BY, or None without ORDER BY."""
        if statement.order is None:
            return None
        expression = statement.order.expression
        if isinstance(expression, ast.Column):
            hint = f"ORDER BY vector {_OPERATOR_OF[collection.metric]} $1"
            self._refuse(errors.NOT_SUPPORTED, "ORDER BY a column is not supported yet", expression, hint)
        if statement.order.descending:
            self._refuse(errors.NOT_SUPPORTED, "the farthest rows cannot be searched for", statement.order)
        if expression.operator != _OPERATOR_OF[collection.metric]:
            message = (
                f"{expression.operator} is not the distance of {collection.name!r}, whose metric is {collection.metric}"
            )
            self._refuse(errors.NOT_SUPPORTED, message, expression, f"write {_OPERATOR_OF[collection.metric]}")
        sides = [expression.left, expression.right]
        if _is_column(sides[1], "vector"):
            sides.reverse()
        if not _is_column(sides[0], "vector"):
            self._refuse(errors.UNKNOWN_COLUMN, "one side of a distance is the column vector", expression)
        if not isinstance(sides[1], ast.VectorLiteral | ast.Parameter):
            self._refuse(errors.INVALID_VALUE, "the other side of a distance is a vector or a parameter", sides[1])
        return sides[1]

    def _projection(self, statement: ast.Select, *, has_distance: bool) -> Projection:
        columns: list[tuple[str, str]] = []
        all_payload = False
        for item in statement.items:
            if isinstance(item.expression, ast.Star):
                columns += [("id", "id"), ("vector", "vector")]
                all_payload = True
                continue
            assert isinstance(item.expression, ast.Column)
            shown = ".".join(item.expression.path)
            if len(item.expression.path) > 1:
                self._refuse(errors.NOT_SUPPORTED, f"the path {shown} is not supported yet", item)
            if shown == "score" or (shown == "distance" and not has_distance):
                hint = (
                    "ORDER BY vector <=> $1 gives a distance" if shown == "distance" else "smaller distance is nearer"
                )
                self._refuse(errors.UNKNOWN_COLUMN, f"there is no column {shown} here", item, hint)
            columns.append((item.alias.text if item.alias else shown, shown))
        return Projection(tuple(columns), all_payload)

    def _options(self, options: tuple[ast.Option, ...], k: int) -> SearchOptions:
        given: dict[str, Any] = {}
        for option in options:
            name, value = option.name.text, self._values.value(option.value)
            if name == "ef":
                given["ef"] = self._values.count(option.value, 0, limits.EF_MAX, "ef")
                if not given["ef"]:
                    self._refuse(errors.INVALID_VALUE, f"ef is an integer from 1 to {limits.EF_MAX}", option)
            elif name == "exact" and type(value) is bool:
                given["exact"] = value
            elif name == "exact":
                self._refuse(errors.INVALID_SETTING, "exact is true or false", option)
            else:
                hint = _choices(name, ["ef", "exact"])
                self._refuse(errors.INVALID_SETTING, f"a search has no setting {name!r}", option, hint)
        return SearchOptions(k=k, **given)

    # --- predicates ----------------------------------------------------------------------------------------

    def _ids(self, where: ast.Expression) -> list[RowId]:
        """The ids of `id = …` and `id IN (…)`; any other predicate is refused."""
        match where:
            case ast.Comparison(operator="=", left=left, right=right) if _is_column(left, "id"):
                if not isinstance(right, ast.Literal | ast.Parameter):
                    self._refuse(errors.INVALID_ID, "an id is an integer or a string", right)
                return [self._values.row_id(right)]
            case ast.InList(operand=operand, items=items, negated=False) if _is_column(operand, "id"):
                ids = [row_id for item in items for row_id in self._values.row_ids(item)]
                return list(dict.fromkeys(ids))
        self._refuse_filter(where)

    def _refuse_filter(self, where: ast.Expression) -> NoReturn:
        self._refuse(errors.NOT_SUPPORTED, "this WHERE is not supported yet", where, _FILTER_HINT)

    def _collection(self, name: ast.Identifier) -> Collection:
        if name.text in self._catalog:
            return self._catalog[name.text]
        hint = _choices(name.text, list(self._catalog)) if self._catalog else "there are no collections yet"
        self._refuse(errors.UNKNOWN_COLLECTION, f"there is no collection {name.text!r}", name, hint)

    def _refuse(self, code: errors.ErrorCode, message: str, node: ast.Node, hint: str | None = None) -> NoReturn:
        raise self._values.error(code, message, node, hint)


def _is_column(node: ast.Expression, name: str) -> bool:
    return isinstance(node, ast.Column) and node.path == (name,)


def _choices(given: str, names: list[str]) -> str:
    near = get_close_matches(given, names, n=1)
    return f"did you mean {near[0]}?" if near else "one of " + ", ".join(map(str, names))
