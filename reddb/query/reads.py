"""SELECT to plans: of all the ways that give the answer the shortest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reddb import errors, limits
from reddb.fields import Field, Fields, FieldType
from reddb.grammar import ast
from reddb.index.metrics import METRICS
from reddb.query.binding import Binding, choices
from reddb.query.bound import Bound, Scope
from reddb.query.clauses import DISTANCE, named, ordered_by, outline
from reddb.query.columns import Columns, resolve
from reddb.query.evaluate import All
from reddb.query.expressions import bind_condition_of, bind_expression
from reddb.query.nearness import nearness
from reddb.query.operands import Column, columns
from reddb.query.ordering import OrderKey
from reddb.query.plan import Plan
from reddb.query.predicate import Predicate
from reddb.query.read_plans import (
    CountPlan,
    GetPlan,
    Nearest,
    ReadPlan,
    ScanPlan,
    SearchPlan,
    Selection,
    SelectPlan,
    ViewPlan,
)
from reddb.query.search_options import bind_options, refuse_options
from reddb.query.selections import RowScope, bind_offset, bind_projection, bind_selection, is_distinct
from reddb.query.views import PREFIX, VIEWS
from reddb.storage.payload_columns import Family
from reddb.types import Collection, RowId

_OF_VECTORS = frozenset({"vector", "distance"})
_COUNT = ast.Call("count", star=True)


def bind_select(binding: Binding, statement: ast.Select) -> Plan:
    """The plan of a SELECT. Raises an input error that points at the place."""
    for call in binding.values.once(outline, statement).misplaced:
        message = f"{call.name} is an aggregate, which cannot stand in WHERE"
        binding.refuse(errors.INVALID_VALUE, message, call, "HAVING filters groups")
    if statement.source is None:
        return _over_table(binding, statement, None, ())
    if statement.source.text.startswith(PREFIX):
        name = statement.source.text.removeprefix(PREFIX)
        views = {view.name: view for view in VIEWS.values() if not view.is_shown_only}
        if name not in views:
            message = f"there is no view {statement.source.text}"
            hint = choices(name, list(views))
            binding.refuse(errors.UNKNOWN_COLLECTION, message, statement.source, hint)
        return _over_table(binding, statement, name, tuple(views[name].column_names))
    collection = binding.collection(statement.source)
    return _Reading(binding, binding.resolved(statement, collection), collection).plan()


def _over_table(binding: Binding, statement: ast.Select, view: str | None, star: tuple[str, ...]) -> ViewPlan:
    """Over the rows of a view; without one over a single row that has no columns."""
    refuse_options(binding, statement.options, has_distance=False)
    fields = Fields(tuple(Field(name, FieldType.JSON) for name in star))
    statement = binding.found(resolve(statement, _columns_of_view(fields, view, statement.alias)))
    statement = replace(statement, items=_spelled_out(binding, statement.items, star))
    names = Scope(fields, is_closed=True)
    condition = None
    if statement.where is not None:
        condition = _predicate(binding, statement.where, names)
    order = ordered_by(binding, statement)
    limit = _limit(binding, statement)
    return ViewPlan(view, bind_selection(binding, statement, RowScope(names, star), order, condition, limit))


def _columns_of_view(fields: Fields, view: str | None, alias: ast.Identifier | None) -> Columns:
    if view is None:
        return Columns(fields, frozenset(), hint="a SELECT without FROM has no rows to take it from")
    called, hidden = (view, None) if alias is None else (alias.text, view)
    return Columns(fields, frozenset(), qualifier=called, hidden=hidden)


def _spelled_out(
    binding: Binding, items: tuple[ast.SelectItem, ...], star: tuple[str, ...]
) -> tuple[ast.SelectItem, ...]:
    """The items with the columns that `*` stands for."""
    spelled: list[ast.SelectItem] = []
    for item in items:
        if not isinstance(item.expression, ast.Star):
            spelled.append(item)
        elif not star:
            binding.refuse(errors.INVALID_VALUE, "* needs a FROM", item, "SELECT * FROM collection")
        else:
            spelled += [ast.SelectItem(ast.Column((name,), span=item.span), span=item.span) for name in star]
    return tuple(spelled)


class _Reading:
    """A SELECT over a collection."""

    def __init__(self, binding: Binding, statement: ast.Select, collection: Collection) -> None:
        self._binding = binding
        self._statement = statement
        self._collection = collection
        self._outline = binding.values.once(outline, statement)
        self._is_grouped = self._outline.is_grouped or is_distinct(statement, self._outline, has_ids=True)
        order = ordered_by(binding, statement)
        self._near = nearness(binding, statement, collection, order, orders=not self._is_grouped)
        self._names = self._scope()
        self._rows = RowScope(self._names, ("id", "vector"), has_keys=True)

    def plan(self) -> Plan:
        statement, near = self._statement, self._near
        if near.leads and not self._is_grouped:
            return self._nearest()
        refuse_options(self._binding, statement.options, has_distance=bool(near.spellings))
        ids, predicate, condition = self._where(with_ranges=True)
        limit = _limit(self._binding, statement)
        if self._is_count() and condition is None:
            return CountPlan(self._collection, ids, named(self._binding, statement.items[0]), predicate)
        selection = self._selection(condition, limit)
        is_plain = not (self._is_grouped or selection.order or selection.per_group or near.query is not None)
        if is_plain and condition is None and ids is not None:
            count = limits.SCAN_ROWS_MAX if limit is None else limit
            if limit is not None or len(ids) <= count:
                return GetPlan(self._collection, ids, count, selection.offset, selection.projection)
        if is_plain and condition is None and ids is None and limit is not None:
            return ScanPlan(self._collection, limit, selection.offset, selection.projection, predicate)
        nearest = None if near.query is None else Nearest(near.query, self._collection.metric)
        return SelectPlan(self._collection, selection, ids, predicate, nearest)

    def _nearest(self) -> ReadPlan:
        """The nearest rows first, by an index where it can be sure to have them."""
        statement, near, binding, metric = self._statement, self._near, self._binding, self._collection.metric
        assert near.query is not None
        limit = _limit(binding, statement)
        _, predicate, condition = self._where(with_ranges=False, with_ids=False)
        is_complete = limit is None and near.distance_max is not None and not self._is_per_group()
        if is_complete or condition is not None:
            refuse_options(binding, statement.options, has_distance=True)
            ids, predicate, condition = self._where(with_ranges=True)
            limit = limits.K_DEFAULT if limit is None and not is_complete else limit
            selection = self._selection(condition, limit)
            return SelectPlan(self._collection, selection, ids, predicate, Nearest(near.query, metric))
        limit = limits.K_DEFAULT if limit is None else limit
        if len(near.order_but_id) > 1 or self._is_per_group():
            selection = self._selection(_all_of(self._bound(near.ranges)), limit)
            options = bind_options(binding, statement.options, 0)
            return SelectPlan(self._collection, selection, None, predicate, Nearest(near.query, metric, options))
        projection = bind_projection(binding, statement, self._names, self._rows, is_rows=True)
        offset = bind_offset(binding, statement)
        k = limit + offset
        if k > limits.K_MAX:
            message = f"LIMIT and OFFSET of a search are together at most {limits.K_MAX}, not {k}"
            binding.refuse(errors.LIMIT_EXCEEDED, message, statement.limit or statement)
        options = bind_options(binding, statement.options, k)
        return SearchPlan(self._collection, near.query, options, offset, projection, predicate, near.distance_max)

    # --- parts ---------------------------------------------------------------------------------------------

    def _scope(self) -> Scope:
        """What names mean in a row: `distance` is that of the ORDER BY, however it is spelled."""
        collection, near = self._collection, self._near
        names = Scope(collection.fields, collection.metric, collection.dim)
        if near.query is not None:
            bound = Bound(Column("distance"), DISTANCE, frozenset({Family.FLOAT}), "FLOAT")
            return replace(names, has_distance=True, known=dict.fromkeys(near.spellings, bound))
        if near.spellings:
            return replace(names, known={DISTANCE: bind_expression(near.spellings[1], self._binding.values, names)})
        for node in self._outline.distances:
            operator = METRICS[collection.metric].operator
            hint = f"ORDER BY vector {operator} $1 gives a distance" if operator else "WHERE vector NEAR $1 does"
            self._binding.refuse(errors.UNKNOWN_COLUMN, f"there is no column {node.path[0]} here", node, hint)
        return names

    def _where(
        self, *, with_ranges: bool, with_ids: bool = True
    ) -> tuple[list[RowId] | None, Predicate | None, Predicate | None]:
        """Ids, what is a mask to keep, and what is evaluated row by row: because of ids or of distances."""
        ids, others = self._ids() if with_ids else (None, self._near.others)
        bound = self._bound(others)
        if ids is not None:
            stored: list[Predicate] = []
            rest = bound
        else:
            stored = [predicate for predicate in bound if not _looks_at_vectors(predicate)]
            rest = [predicate for predicate in bound if _looks_at_vectors(predicate)]
        if with_ranges:
            rest += self._bound(self._near.ranges)
        return ids, _all_of(stored), _all_of(rest)

    def _ids(self) -> tuple[list[RowId] | None, Sequence[ast.Expression]]:
        """The ids that a condition names, and the other conditions."""
        others = self._near.others
        for place, item in enumerate(others):
            ids = self._binding.ids(item)
            if ids is not None:
                return ids, [*others[:place], *others[place + 1 :]]
        return None, others

    def _bound(self, conditions: Sequence[ast.Expression]) -> list[Predicate]:
        return [_predicate(self._binding, item, self._names) for item in conditions]

    def _selection(self, condition: Predicate | None, limit: int | None) -> Selection:
        if self._is_per_group() and limit is None:
            limit = limits.K_DEFAULT
        near = self._near
        selection = bind_selection(self._binding, self._statement, self._rows, near.order, condition, limit)
        if self._is_grouped or not near.orders_by_distance or near.orders_by_id:
            return selection
        return replace(selection, order=(*selection.order, OrderKey(Column("id"))))  # as a search has it

    def _is_per_group(self) -> bool:
        return self._statement.limit is not None and self._statement.limit.per_group is not None

    def _is_count(self) -> bool:
        """Whether the statement asks for the number of rows and nothing else."""
        statement = self._statement
        rest = (statement.group_by, statement.having, statement.order, statement.limit, statement.offset)
        return len(statement.items) == 1 and statement.items[0].expression == _COUNT and not any(rest)


def _limit(binding: Binding, statement: ast.Select) -> int | None:
    if statement.limit is None:
        return None
    return binding.values.count(statement.limit.count, 0, limits.SCAN_ROWS_MAX, "LIMIT")


def _predicate(binding: Binding, node: ast.Expression, names: Scope) -> Predicate:
    condition = bind_condition_of(node, binding.values, names)
    return Predicate(condition, frozenset(columns(condition)))


def _looks_at_vectors(predicate: Predicate) -> bool:
    """Whether its truths are no mask to keep: they differ from query to query, and cost too much for one turn."""
    return not predicate.columns.isdisjoint(_OF_VECTORS)


def _all_of(predicates: list[Predicate]) -> Predicate | None:
    if len(predicates) <= 1:
        return predicates[0] if predicates else None
    conditions = tuple(predicate.condition for predicate in predicates)
    return Predicate(All(conditions), frozenset().union(*(predicate.columns for predicate in predicates)))
