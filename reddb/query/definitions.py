"""CREATE, DROP, ALTER, SHOW and KILL to plans."""

from __future__ import annotations

from typing import Any

from reddb import errors, limits
from reddb.fields import EXPIRES_AT, Field, Fields, FieldType, check_default
from reddb.grammar import absent, ast
from reddb.keys import folded
from reddb.query.binding import Binding, choices
from reddb.query.json_values import json_value
from reddb.query.patterns import check_pattern
from reddb.query.plan import (
    AliasChange,
    AliasPlan,
    CreatePlan,
    DropPlan,
    FieldsPlan,
    IndexPlan,
    KillPlan,
    SettingsPlan,
    ShowPlan,
    TruncatePlan,
    Work,
    WorkPlan,
)
from reddb.query.views import VIEWS
from reddb.settings import check_online, resolve
from reddb.storage.payload_columns import column_path
from reddb.types import INDEXABLE, RESERVED_FIELD_NAMES, RESERVED_NAMES, Collection, Kind, Metric

_ARRAYS = (FieldType.TEXTS, FieldType.INTS)


def bind_create(binding: Binding, statement: ast.CreateCollection) -> CreatePlan:
    values = binding.values
    dim = values.count(statement.dim, 0, limits.DIM_MAX, "DIM")
    if dim == 0:
        binding.refuse(errors.INVALID_VALUE, f"DIM is an integer from 1 to {limits.DIM_MAX}", statement.dim)
    kind = _kind(binding, statement.kind)
    metric = Metric.COSINE if statement.metric is None else binding.metric(statement.metric)
    if kind is Kind.TURBO and metric not in INDEXABLE:
        message = f"turbo codes cannot estimate the metric {metric}, only {', '.join(sorted(INDEXABLE))}"
        hint = f"KIND {Kind.VECTOR} searches {metric} exactly"
        binding.refuse(errors.NOT_SUPPORTED, message, statement.metric or statement.kind, hint)
    binding.check_new_name(statement.name)
    given: dict[str, Any] = {option.name.text: values.value(option.value) for option in statement.options}
    return CreatePlan(
        name=statement.name.text,
        kind=kind,
        dim=dim,
        metric=metric,
        settings=binding.at_option(statement.options, lambda: resolve(given, dim, has_fields=bool(statement.fields))),
        if_not_exists=statement.if_not_exists,
        fields=Fields(tuple(_field(binding, definition) for definition in statement.fields)),
    )


def bind_alter(binding: Binding, statement: ast.AlterCollection) -> SettingsPlan | WorkPlan | FieldsPlan:
    collection = binding.own_collection(statement.name)
    match statement.action:
        case ast.Seal():
            return WorkPlan(collection, Work.SEAL)
        case ast.Compact():
            return WorkPlan(collection, Work.COMPACT)
        case ast.Checkpoint():
            return WorkPlan(collection, Work.CHECKPOINT)
        case ast.Rebuild(options=options):
            return WorkPlan(collection, Work.REBUILD, _online(binding, collection, options))
        case ast.SetOptions(options=options):
            return SettingsPlan(collection.name, _online(binding, collection, options))
        case ast.AddField(field=definition):
            return _with_field(binding, collection, definition)
        case ast.DropField(name=name):
            return _without_field(binding, collection, name)


def _with_field(binding: Binding, collection: Collection, definition: ast.FieldDefinition) -> FieldsPlan:
    """The type, NOT NULL and DEFAULT hold for rows that are written from now on; stored ones stay as they are."""
    field = _field(binding, definition)
    known = collection.fields.get(field.name)
    if known is not None:
        message = f"{collection.name} has the field {known.name} already"
        binding.refuse(errors.INVALID_VALUE, message, definition.name)
    if field.type in _ARRAYS and _index_named(collection, field.name) in collection.indexes:
        message = f"an index orders single values, and {field.name} has one"
        binding.refuse(errors.NOT_SUPPORTED, message, definition, f"DROP INDEX ON {collection.name} ({field.name})")
    return FieldsPlan(collection.name, Fields((*collection.fields, field)))


def _without_field(binding: Binding, collection: Collection, name: ast.Identifier) -> FieldsPlan:
    """Values that are stored stay; where there are free keys it is one of these from now on."""
    if collection.fields.get(name.text) in (None, EXPIRES_AT):
        declared = [field.name for field in collection.fields]
        hint = choices(name.text, declared) if declared else "it has no fields"
        binding.refuse(errors.UNKNOWN_COLUMN, f"{collection.name} has no field {name.text}", name, hint)
    dropped = collection.fields.get(name.text)
    return FieldsPlan(collection.name, Fields(tuple(item for item in collection.fields if item != dropped)))


def bind_drop(binding: Binding, statement: ast.DropCollection | ast.TruncateCollection) -> DropPlan | TruncatePlan:
    binding.refuse_alias(statement.name)
    plan = DropPlan if isinstance(statement, ast.DropCollection) else TruncatePlan
    return plan(statement.name.text, statement.if_exists)


def bind_alias(binding: Binding, statement: ast.CreateAlias | ast.AlterAlias) -> AliasPlan:
    collection = binding.own_collection(statement.collection)
    binding.check_new_name(statement.name)
    change = AliasChange.ALTER
    if isinstance(statement, ast.CreateAlias):
        change = AliasChange.PUT if statement.or_replace else AliasChange.CREATE
    return AliasPlan(statement.name.text, collection.name, change)


def bind_index(binding: Binding, statement: ast.CreateIndex | ast.DropIndex) -> IndexPlan:
    """An index is known by its field; a name that it is given says something to the reader of the statement only."""
    collection = binding.own_collection(statement.collection)
    if isinstance(statement, ast.DropIndex):
        field = statement.field
        path = _index_named(collection, column_path(field.path))
        if path not in collection.indexes and not statement.if_exists:
            message = f"{collection.name} has no index on {path}"
            hint = choices(path, collection.indexes) if collection.indexes else "it has no indexes"
            binding.refuse(errors.INVALID_VALUE, message, field, hint)
        return IndexPlan(collection.name, path, create=False)
    field = binding.resolved(statement, collection).field
    path = _index_named(collection, column_path(field.path))
    if field.path[0] in RESERVED_NAMES:
        hint = "rows are found by id, and by vector, without one"
        binding.refuse(errors.INVALID_VALUE, f"an index is on a key of the payload, not on {path}", field, hint)
    declared = collection.fields.get(field.path[0]) if len(field.path) == 1 else None
    if declared is not None and declared.type in _ARRAYS:
        message = f"an index orders single values, and {path} is {declared.type}"
        binding.refuse(errors.NOT_SUPPORTED, message, field)
    if path in collection.indexes and not statement.if_not_exists:
        binding.refuse(errors.INVALID_VALUE, f"{path} has an index already", field)
    if len(collection.indexes) >= limits.FIELD_INDEXES_MAX and path not in collection.indexes:
        message = f"a collection has at most {limits.FIELD_INDEXES_MAX} indexes of fields"
        binding.refuse(errors.LIMIT_EXCEEDED, message, field)
    return IndexPlan(collection.name, path, create=True)


def _index_named(collection: Collection, path: str) -> str:
    """The path as an index has it whose field is called so; the path itself where none is."""
    return next((item for item in collection.indexes if folded(item) == folded(path)), path)


def bind_show(binding: Binding, statement: ast.Show) -> ShowPlan:
    view = VIEWS[statement.subject]
    if view.name == "settings":
        like = None if statement.like is None else str(statement.like.value)
        if statement.like is not None:
            check_pattern(binding.values, str(statement.like.value), statement.like)
        return ShowPlan(view, name=None if statement.name is None else statement.name.text, like=like)
    return ShowPlan(view, None if statement.name is None else binding.collection(statement.name))


def bind_kill(binding: Binding, statement: ast.Kill) -> KillPlan:
    value = binding.values.value(statement.id)
    if type(value) is not int:
        binding.refuse(errors.INVALID_VALUE, "a query is killed by its id", statement.id, "SHOW QUERIES")
    return KillPlan(value)


def _online(binding: Binding, collection: Collection, options: tuple[ast.Option, ...]) -> dict[str, Any]:
    given = binding.settings(options)
    changed: dict[str, Any] = binding.at_option(options, lambda: check_online(given, collection.settings))
    return changed


def _kind(binding: Binding, kind: ast.Identifier) -> Kind:
    if kind.text in set(Kind):
        return Kind(kind.text)
    binding.refuse(errors.INVALID_VALUE, f"there is no kind {kind.text!r}", kind, choices(kind.text, list(Kind)))


def _field(binding: Binding, definition: ast.FieldDefinition) -> Field:
    name, type_name = definition.name, definition.type.text
    if folded(name.text) in RESERVED_FIELD_NAMES:
        binding.refuse(errors.INVALID_NAME, f"{name.text} is a column that every row has", name)
    if type_name not in set(FieldType):
        message = f"there is no type {type_name}"
        hint = absent.type_hint(type_name) or choices(type_name, list(FieldType))
        binding.refuse(errors.INVALID_VALUE, message, definition.type, hint)
    default = None if definition.default is None else binding.values.plain(definition.default)
    if type_name == FieldType.JSON and isinstance(default, str):
        default = json_value(binding.values, default, definition.default or definition)
    try:
        return check_default(Field(name.text, FieldType(type_name), definition.not_null, default))
    except errors.RedDBError as error:
        binding.refuse(error.code, error.message, definition.default or definition, error.detail.get("hint"))
