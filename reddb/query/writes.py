"""INSERT, UPSERT, UPDATE and DELETE to plans."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np

from reddb import errors
from reddb.durations import DURATION_HINT, duration, parse_duration
from reddb.fields import EXPIRES_AT, TIMESTAMP_HINT, parse_timestamp
from reddb.grammar import ast
from reddb.query.assignments import bind_assignments
from reddb.query.binding import Binding
from reddb.query.constants import constant, plain_constant, value_of
from reddb.query.returning import bind_returning
from reddb.query.write_plans import Asked, ChangePlan, OnConflict, WriteKind, WritePlan
from reddb.rows import RowBatch, id_column, make_batch
from reddb.types import RESERVED_NAMES, Collection, RowId, Vectors
from reddb.wording import shown


def bind_insert(binding: Binding, statement: ast.Insert) -> WritePlan:
    collection = binding.collection(statement.collection)
    statement = binding.resolved(statement, collection)
    names = [column.text for column in statement.columns]
    _check_columns(binding, statement, names)
    fields = {name: collection.fields.get(name) for name in names}
    expiry = _expiry(binding, statement)
    ids: list[RowId] = []
    vectors: list[Vectors] = []
    payloads: list[dict[str, Any]] = []
    for row in statement.rows:
        cells = dict(zip(names, row, strict=True))
        ids.append(binding.values.row_id(_written(binding, "id", cells.pop("id"))))
        vectors.append(binding.values.vector(_written(binding, "vector", cells.pop("vector")), collection.dim))
        # DEFAULT is what is not said: the default of a field stands in for that.
        given = [(name, node) for name, node in cells.items() if not isinstance(node, ast.Default)]
        values = {name: value_of(binding, node, fields[name]) for name, node in given} | expiry
        # A declared field keeps its NULL.
        payloads.append({name: value for name, value in values.items() if value is not None or fields[name]})
    batch = make_batch(ids, np.concatenate(vectors), payloads if any(payloads) else None)
    on_conflict = statement.on_conflict
    return WritePlan(
        collection,
        WriteKind.UPSERT if statement.upsert else WriteKind.INSERT,
        batch if on_conflict is None else _distinct(binding, on_conflict, batch),
        _asked(binding) if on_conflict is not None or statement.returning else None,
        None if on_conflict is None else _on_conflict(binding, on_conflict, collection),
        bind_returning(binding, statement.returning, collection),
    )


def _written(binding: Binding, name: str, node: ast.Expression | ast.Default) -> ast.Value:
    if isinstance(node, ast.Default):
        binding.refuse(errors.INVALID_VALUE, f"{name} has no default", node)
    return constant(binding, node)


def bind_delete(binding: Binding, statement: ast.Delete) -> WritePlan | ChangePlan:
    collection = binding.collection(statement.collection)
    statement = binding.resolved(statement, collection)
    if statement.where is None:
        hint = "DELETE FROM c WHERE …; TRUNCATE COLLECTION c empties it"
        binding.refuse(errors.NOT_SUPPORTED, "DELETE needs a WHERE", statement.collection, hint)
    ids = binding.ids(statement.where)
    if ids is not None and not statement.returning:
        batch = RowBatch(id_column(ids), np.empty((len(ids), 0), np.float32))
        return WritePlan(collection, WriteKind.DELETE, batch)
    predicate = None if ids is not None else binding.predicate(statement.where, collection)
    returning = bind_returning(binding, statement.returning, collection)
    return ChangePlan(collection, _asked(binding), ids, predicate, returning=returning)


def bind_update(binding: Binding, statement: ast.Update) -> ChangePlan:
    collection = binding.collection(statement.collection)
    statement = binding.resolved(statement, collection)
    if statement.where is None:
        hint = "UPDATE c SET … WHERE …; WHERE TRUE means all rows"
        binding.refuse(errors.NOT_SUPPORTED, "UPDATE needs a WHERE", statement.collection, hint)
    assignments = bind_assignments(binding, statement.assignments, collection)
    ids = binding.ids(statement.where)
    predicate = None if ids is not None else binding.predicate(statement.where, collection)
    returning = bind_returning(binding, statement.returning, collection)
    return ChangePlan(collection, _asked(binding), ids, predicate, assignments, returning)


def _asked(binding: Binding) -> Asked:
    return Asked(binding.values.text, binding.values.parameters, binding.values.now)


def _check_columns(binding: Binding, statement: ast.Insert, names: list[str]) -> None:
    for wanted in ("id", "vector"):
        if wanted not in names:
            message = f"INSERT needs the column {wanted}"
            hint = "INSERT INTO c (id, vector, …) VALUES …"
            binding.refuse(errors.UNKNOWN_COLUMN, message, statement.collection, hint)
    for column in statement.columns:
        if column.text in RESERVED_NAMES - {"id", "vector"}:
            binding.refuse(errors.UNKNOWN_COLUMN, f"the column {column.text} is computed, not stored", column)
        if column.text == EXPIRES_AT.name and statement.expiry is not None:
            binding.refuse(errors.INVALID_VALUE, "expires_at is given twice, as a column and by WITH", statement.expiry)


# --- expiry ------------------------------------------------------------------------------------------------


def _expiry(binding: Binding, statement: ast.Insert) -> dict[str, Any]:
    """What WITH TTL or WITH EXPIRES AT adds to every row."""
    clause = statement.expiry
    if clause is None:
        return {}
    if isinstance(clause, ast.Ttl):
        return {EXPIRES_AT.name: binding.values.now + timedelta(microseconds=_ttl_us(binding, clause))}
    instant = plain_constant(binding, clause.instant)
    try:
        return {EXPIRES_AT.name: parse_timestamp(instant)}
    except ValueError:
        message = f"EXPIRES AT takes a timestamp with a time zone, not {shown(instant)}"
        binding.refuse(errors.INVALID_VALUE, message, clause.instant, TIMESTAMP_HINT)


def _ttl_us(binding: Binding, clause: ast.Ttl) -> int:
    amount = binding.values.value(clause.amount)
    try:
        if isinstance(amount, str):
            length_us = parse_duration(amount)
        elif isinstance(amount, int | float) and not isinstance(amount, bool):
            length_us = duration(amount, "s" if clause.unit is None else clause.unit.text)
        else:
            raise ValueError("a TTL is a number of seconds, or a text such as '90 min'")
        if not length_us:
            raise ValueError("a TTL is longer than nothing")
        return length_us
    except ValueError as error:
        binding.refuse(errors.INVALID_VALUE, str(error), clause.unit or clause.amount, DURATION_HINT)


# --- conflicts ---------------------------------------------------------------------------------------------


def _on_conflict(binding: Binding, clause: ast.OnConflict, collection: Collection) -> OnConflict:
    return OnConflict(clause.update, bind_assignments(binding, clause.assignments, collection, has_excluded=True))


def _distinct(binding: Binding, clause: ast.OnConflict, batch: RowBatch) -> RowBatch:
    """The rows without those whose ids stood before. An update cannot have any, for it would need an order."""
    first: dict[RowId, int] = {}
    for row, row_id in enumerate(batch.id_list()):
        if clause.update and row_id in first:
            message = f"ON CONFLICT DO UPDATE cannot affect a row a second time: row {row} has the id {row_id!r} too"
            raise binding.values.error(
                errors.DUPLICATE_ID, message, clause, f"row {first[row_id]} has it as well: give one row for each id"
            )
        first.setdefault(row_id, row)
    return batch if len(first) == len(batch) else batch.take(np.array(list(first.values())))
