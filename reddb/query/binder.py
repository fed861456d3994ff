"""Syntax tree and parameters to a plan: names are looked up, values checked, defaults put in.

What the grammar reads but nothing can do yet is refused here by name (NOT_SUPPORTED); no clause is ever ignored.

Invariant: binding changes nothing and looks at no row.
"""

from __future__ import annotations

from collections.abc import Mapping

from reddb import errors
from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.definitions import bind_alias, bind_alter, bind_create, bind_drop, bind_index, bind_kill, bind_show
from reddb.query.plan import (
    ChangePlan,
    DropAliasPlan,
    ExplainPlan,
    Plan,
    ReadPlan,
    SearchPlan,
    SelectPlan,
    ViewPlan,
    WritePlan,
)
from reddb.query.premises import Premises
from reddb.query.reads import bind_select
from reddb.query.values import Clock, Parameters, Values, utc_now
from reddb.query.vector_search import bind_vector_search
from reddb.query.write_plans import TransactionCommand
from reddb.query.writes import bind_delete, bind_insert, bind_update
from reddb.types import Collection


def bind(
    statement: ast.Statement,
    text: str,
    parameters: Parameters,
    catalog: Mapping[str, Collection],
    clock: Clock = utc_now,
    target: Collection | None = None,
) -> Plan:
    """Make the plan of a statement; `target` stands for the collection that it names.

    Raises an input error that points at the place in `text`.
    """
    return bind_with_premises(statement, text, parameters, catalog, clock, target)[0]


def bind_with_premises(
    statement: ast.Statement,
    text: str,
    parameters: Parameters,
    catalog: Mapping[str, Collection],
    clock: Clock = utc_now,
    target: Collection | None = None,
) -> tuple[Plan, Premises | None]:
    """The same, and what the statement takes for granted of the rows of a collection, if it is about one."""
    binding = Binding(Values(text, statement, parameters, clock), catalog, target)
    plan = _bind(binding, statement)
    premises = binding.premises
    return plan, None if premises is None or premises.are_none else premises


def _bind(binding: Binding, statement: ast.Statement) -> Plan:
    match statement:
        case ast.Select():
            return bind_select(binding, statement)
        case ast.VectorSearch():
            return bind_vector_search(binding, statement)
        case ast.Insert():
            return bind_insert(binding, statement)
        case ast.Update():
            return bind_update(binding, statement)
        case ast.Delete():
            return bind_delete(binding, statement)
        case ast.CreateCollection():
            return bind_create(binding, statement)
        case ast.DropCollection() | ast.TruncateCollection():
            return bind_drop(binding, statement)
        case ast.AlterCollection():
            return bind_alter(binding, statement)
        case ast.Explain():
            return _explain(binding, statement)
        case ast.CreateIndex() | ast.DropIndex():
            return bind_index(binding, statement)
        case ast.Show():
            return bind_show(binding, statement)
        case ast.Begin():
            return TransactionCommand.BEGIN
        case ast.Commit():
            return TransactionCommand.COMMIT
        case ast.Rollback():
            return TransactionCommand.ROLLBACK
        case ast.CreateAlias() | ast.AlterAlias():
            return bind_alias(binding, statement)
        case ast.DropAlias():
            return DropAliasPlan(statement.name.text, statement.if_exists)
        case ast.Kill():
            return bind_kill(binding, statement)
        case _:
            binding.refuse(errors.NOT_SUPPORTED, "this statement is not supported yet", statement)


def _explain(binding: Binding, statement: ast.Explain) -> ExplainPlan:
    inner = statement.statement
    plan = _bind(binding, inner)
    if not isinstance(plan, ReadPlan | ViewPlan | WritePlan | ChangePlan):
        message = "only statements that read or write rows are explained"
        binding.refuse(errors.NOT_SUPPORTED, message, inner)
    if statement.recall and not _is_search(plan):
        message = "RECALL is for searches by vector"
        binding.refuse(errors.NOT_SUPPORTED, message, inner, "ORDER BY vector <=> $1 LIMIT 10")
    limit_from = "statement" if isinstance(inner, ast.Read) and inner.limit is not None else "default"
    return ExplainPlan(plan, statement.analyze, statement.recall, statement.json, limit_from)


def _is_search(plan: Plan) -> bool:
    """Whether an index may be asked for the nearest rows."""
    if isinstance(plan, SelectPlan):
        return plan.nearest is not None and plan.nearest.options is not None
    return isinstance(plan, SearchPlan)
