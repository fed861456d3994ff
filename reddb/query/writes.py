"""INSERT, UPSERT, UPDATE and DELETE to plans."""

from __future__ import annotations

from typing import Any

import numpy as np

from reddb import errors
from reddb.grammar import ast
from reddb.query.binding import Binding
from reddb.query.plan import ChangePlan, WriteKind, WritePlan
from reddb.rows import RowBatch, id_column, make_batch
from reddb.types import RESERVED_NAMES, RowId, Vectors


def bind_insert(binding: Binding, statement: ast.Insert) -> WritePlan:
    collection = binding.collection(statement.collection)
    for clause in (statement.expiry, statement.on_conflict, *statement.returning):
        if clause is not None:
            binding.refuse(errors.NOT_SUPPORTED, "this clause is not supported yet", clause)
    names = [column.text for column in statement.columns]
    declared = {field.name for field in collection.fields}
    for wanted in ("id", "vector"):
        if wanted not in names:
            message = f"INSERT needs the column {wanted}"
            binding.refuse(
                errors.UNKNOWN_COLUMN, message, statement.collection, "INSERT INTO c (id, vector, …) VALUES …"
            )
    for column in statement.columns:
        if column.text in RESERVED_NAMES - {"id", "vector"}:
            binding.refuse(errors.UNKNOWN_COLUMN, f"the column {column.text} is computed, not stored", column)
    ids: list[RowId] = []
    vectors: list[Vectors] = []
    payloads: list[dict[str, Any]] = []
    for row in statement.rows:
        cells = dict(zip(names, row, strict=True))
        ids.append(binding.values.row_id(binding.value(cells.pop("id"))))
        vectors.append(binding.values.vector(binding.value(cells.pop("vector")), collection.dim))
        values = {name: binding.values.plain(binding.value(node)) for name, node in cells.items()}
        # A declared field keeps its NULL, for a default stands in for what is not said.
        payloads.append({name: value for name, value in values.items() if value is not None or name in declared})
    batch = make_batch(ids, np.concatenate(vectors), payloads if any(payloads) else None)
    return WritePlan(collection, WriteKind.UPSERT if statement.upsert else WriteKind.INSERT, batch)


def bind_delete(binding: Binding, statement: ast.Delete) -> WritePlan | ChangePlan:
    collection = binding.collection(statement.collection)
    if statement.returning:
        binding.refuse(errors.NOT_SUPPORTED, "RETURNING is not supported yet", statement.returning[0])
    if statement.where is None:
        hint = "DELETE FROM c WHERE …; DROP COLLECTION removes everything"
        binding.refuse(errors.NOT_SUPPORTED, "DELETE needs a WHERE", statement.collection, hint)
    ids = binding.ids(statement.where)
    if ids is not None:
        batch = RowBatch(id_column(ids), np.empty((len(ids), 0), np.float32))
        return WritePlan(collection, WriteKind.DELETE, batch)
    return ChangePlan(collection, None, binding.predicate(statement.where, collection), deletes=True)


def bind_update(binding: Binding, statement: ast.Update) -> ChangePlan:
    collection = binding.collection(statement.collection)
    if statement.returning:
        binding.refuse(errors.NOT_SUPPORTED, "RETURNING is not supported yet", statement.returning[0])
    if statement.where is None:
        hint = "UPDATE c SET … WHERE …; WHERE TRUE means all rows"
        binding.refuse(errors.NOT_SUPPORTED, "UPDATE needs a WHERE", statement.collection, hint)
    values: dict[str, Any] = {}
    vector: Vectors | None = None
    for assignment in statement.assignments:
        name = assignment.column.text
        if name == "vector":
            vector = binding.values.vector(binding.value(assignment.value), collection.dim)
        elif name in RESERVED_NAMES:
            binding.refuse(errors.UNKNOWN_COLUMN, f"the column {name} cannot be set", assignment.column)
        else:
            values[name] = binding.values.plain(binding.value(assignment.value))
    ids = binding.ids(statement.where)
    predicate = None if ids is not None else binding.predicate(statement.where, collection)
    return ChangePlan(collection, ids, predicate, deletes=False, values=values, vector=vector)
