"""Statements as canonical text: keywords in upper case, names in double quotes only where they must be.

Invariant: `parse(render(statement)) == statement`, for every statement that can be made.
"""

from __future__ import annotations

from reddb.grammar import ast
from reddb.grammar.language import keywords
from reddb.grammar.render_expressions import (
    dotted_name_text,
    expression_text,
    name_text,
    quoted,
    type_text,
    values_text,
    words,
)


def render(statement: ast.Statement) -> str:
    """Write a statement so that `parse` reads the same statement back."""
    match statement:
        case ast.Explain():
            return _explain(statement)
        case ast.Insert():
            return _insert(statement)
        case ast.Update():
            return _update(statement)
        case ast.Delete():
            name = _called(statement.collection, statement.alias)
            return words("DELETE FROM", name, _clause("WHERE", statement.where), _returning(statement.returning))
        case ast.Select():
            return _select(statement)
        case ast.VectorSearch():
            return _vector_search(statement)
        case ast.Show():
            return _show(statement)
        case ast.Begin():
            return "BEGIN"
        case ast.Commit():
            return "COMMIT"
        case ast.Rollback():
            return "ROLLBACK"
        case ast.SetVariable() | ast.ResetVariable() | ast.Kill() | ast.Prepare() | ast.Execute() | ast.Deallocate():
            return _session_command(statement)
        case _:
            return _definition(statement)


def _session_command(statement: ast.SessionCommand) -> str:
    match statement:
        case ast.SetVariable():
            return f"SET {dotted_name_text(statement.name.text)} = {expression_text(statement.value)}"
        case ast.ResetVariable():
            return f"RESET {dotted_name_text(statement.name.text) if statement.name else 'ALL'}"
        case ast.Kill():
            return f"KILL {expression_text(statement.id)}"
        case ast.Prepare():
            return f"PREPARE {name_text(statement.name.text)} AS {render(statement.statement)}"
        case ast.Execute():
            arguments = f"({values_text(statement.arguments)})" if statement.arguments else None
            return words("EXECUTE", name_text(statement.name.text), arguments)
        case ast.Deallocate():
            return f"DEALLOCATE {name_text(statement.name.text) if statement.name else 'ALL'}"


def _explain(statement: ast.Explain) -> str:
    options = [word for word, given in (("RECALL", statement.recall), ("FORMAT json", statement.json)) if given]
    inside = f"({', '.join(options)})" if options else None
    return words("EXPLAIN", statement.analyze and "ANALYZE", inside, render(statement.statement))


def _show(statement: ast.Show) -> str:
    if statement.subject is ast.Subject.SETTINGS and statement.name is not None:
        return f"SHOW {_variable(statement.name.text)}"
    what = f"SHOW {statement.subject.upper()}"
    if statement.subject is ast.Subject.COLLECTION:
        return f"{what} {name_text(statement.name.text)}" if statement.name else what
    like = _clause("LIKE", statement.like)
    return words(what, f"FOR {name_text(statement.name.text)}" if statement.name else None, like)


def _variable(name: str) -> str:
    """The name of a setting where a keyword would be another statement."""
    return quoted(name) if name.split(".")[0].upper() in keywords() else dotted_name_text(name)


def _definition(statement: ast.Definition) -> str:
    match statement:
        case ast.CreateCollection():
            return words(
                "CREATE COLLECTION",
                statement.if_not_exists and "IF NOT EXISTS",
                name_text(statement.name.text),
                f"KIND {dotted_name_text(statement.kind.text)} DIM {statement.dim.value}",
                f"METRIC {name_text(statement.metric.text)}" if statement.metric else None,
                f"FIELDS ({', '.join(map(_field, statement.fields))})" if statement.fields else None,
                _with(statement.options),
            )
        case ast.DropCollection():
            return words("DROP COLLECTION", statement.if_exists and "IF EXISTS", name_text(statement.name.text))
        case ast.TruncateCollection():
            return words("TRUNCATE COLLECTION", statement.if_exists and "IF EXISTS", name_text(statement.name.text))
        case ast.AlterCollection():
            return f"ALTER COLLECTION {name_text(statement.name.text)} {_action(statement.action)}"
        case ast.CreateIndex():
            return words(
                "CREATE INDEX",
                statement.if_not_exists and "IF NOT EXISTS",
                name_text(statement.name.text) if statement.name else None,
                _place(statement),
            )
        case ast.DropIndex():
            return words("DROP INDEX", statement.if_exists and "IF EXISTS", _place(statement))
        case ast.CreateAlias(name=name, collection=collection):
            verb = words("CREATE", statement.or_replace and "OR REPLACE", "ALIAS")
            return f"{verb} {name_text(name.text)} FOR {name_text(collection.text)}"
        case ast.AlterAlias(name=name, collection=collection):
            return f"ALTER ALIAS {name_text(name.text)} FOR {name_text(collection.text)}"
        case ast.DropAlias():
            return words("DROP ALIAS", statement.if_exists and "IF EXISTS", name_text(statement.name.text))


def _place(index: ast.CreateIndex | ast.DropIndex) -> str:
    return f"ON {name_text(index.collection.text)} ({expression_text(index.field)})"


def _field(field: ast.FieldDefinition) -> str:
    return words(
        name_text(field.name.text),
        type_text(field.type.text),
        field.not_null and "NOT NULL",
        _clause("DEFAULT", field.default),
    )


def _action(action: ast.Action) -> str:
    match action:
        case ast.Seal():
            return "SEAL"
        case ast.Compact():
            return "COMPACT"
        case ast.Checkpoint():
            return "CHECKPOINT"
        case ast.Rebuild():
            return words("REBUILD", _with(action.options))
        case ast.SetOptions():
            return f"SET {_options(action.options)}"
        case ast.AddField():
            return f"ADD FIELD {_field(action.field)}"
        case ast.DropField():
            return f"DROP FIELD {name_text(action.name.text)}"


def _insert(statement: ast.Insert) -> str:
    verb = "UPSERT" if statement.upsert else "INSERT"
    columns = ", ".join(name_text(column.text) for column in statement.columns)
    rows = ", ".join(f"({', '.join(map(_cell, row))})" for row in statement.rows)
    return words(
        f"{verb} INTO {_called(statement.collection, statement.alias)} ({columns}) VALUES {rows}",
        _expiry(statement.expiry) if statement.expiry else None,
        _on_conflict(statement.on_conflict) if statement.on_conflict else None,
        _returning(statement.returning),
    )


def _called(collection: ast.Identifier, alias: ast.Identifier | None) -> str:
    return words(name_text(collection.text), _as(alias))


def _as(alias: ast.Identifier | None) -> str | None:
    return f"AS {name_text(alias.text)}" if alias else None


def _cell(value: ast.Expression | ast.Default) -> str:
    return "DEFAULT" if isinstance(value, ast.Default) else expression_text(value)


def _expiry(expiry: ast.Ttl | ast.ExpiresAt) -> str:
    if isinstance(expiry, ast.ExpiresAt):
        return f"WITH EXPIRES AT {expression_text(expiry.instant)}"
    return words("WITH TTL", expression_text(expiry.amount), name_text(expiry.unit.text) if expiry.unit else None)


def _on_conflict(clause: ast.OnConflict) -> str:
    if not clause.update:
        return "ON CONFLICT (id) DO NOTHING"
    assignments = f"SET {_assignments(clause.assignments)}" if clause.assignments else None
    return words("ON CONFLICT (id) DO UPDATE", assignments)


def _assignments(assignments: tuple[ast.Assignment, ...]) -> str:
    return ", ".join(f"{name_text(item.column.text)} = {_cell(item.value)}" for item in assignments)


def _returning(items: tuple[ast.SelectItem, ...]) -> str | None:
    return f"RETURNING {_select_items(items)}" if items else None


def _update(statement: ast.Update) -> str:
    return words(
        f"UPDATE {_called(statement.collection, statement.alias)} SET {_assignments(statement.assignments)}",
        _clause("WHERE", statement.where),
        _returning(statement.returning),
    )


def _select(statement: ast.Select) -> str:
    return words(
        "SELECT",
        statement.distinct and "DISTINCT",
        _select_items(statement.items),
        f"FROM {dotted_name_text(statement.source.text)}" if statement.source else None,
        _as(statement.alias),
        _clause("WHERE", statement.where),
        _group_by(statement.group_by),
        _clause("HAVING", statement.having),
        f"ORDER BY {', '.join(map(_order_by, statement.order))}" if statement.order else None,
        _limit(statement.limit),
        _clause("OFFSET", statement.offset),
        _with(statement.options),
    )


def _select_items(items: tuple[ast.SelectItem, ...]) -> str:
    return ", ".join(map(_select_item, items))


def _select_item(item: ast.SelectItem) -> str:
    node = item.expression
    if isinstance(node, ast.Star):
        return f"{name_text(node.qualifier.text)}.*" if node.qualifier else "*"
    return words(expression_text(node), _as(item.alias))


def _group_by(keys: tuple[ast.Expression, ...]) -> str | None:
    return f"GROUP BY {values_text(keys)}" if keys else None


def _order_by(order: ast.OrderBy) -> str:
    nulls = None if order.nulls_first is None else f"NULLS {'FIRST' if order.nulls_first else 'LAST'}"
    return words(expression_text(order.expression), order.descending and "DESC", nulls)


def _limit(limit: ast.Limit | None) -> str | None:
    return None if limit is None else words(_clause("LIMIT", limit.count), _clause("PER GROUP", limit.per_group))


def _vector_search(statement: ast.VectorSearch) -> str:
    return words(
        f"VECTOR SEARCH {name_text(statement.collection.text)} SIMILAR TO",
        _target(statement.target),
        _clause("WHERE", statement.where),
        f"METRIC {name_text(statement.metric.text)}" if statement.metric else None,
        _clause("THRESHOLD", statement.threshold),
        _clause("MIN_SCORE", statement.min_score),
        _group_by(statement.group_by),
        statement.include_vectors and "INCLUDE VECTORS",
        statement.include_metadata and "INCLUDE METADATA",
        _limit(statement.limit),
        _clause("OFFSET", statement.offset),
        _with(statement.options),
    )


def _target(target: ast.VectorLiteral | ast.Parameter | ast.StoredRow | ast.StoredRows) -> str:
    match target:
        case ast.StoredRow():
            return f"ID {expression_text(target.id)}"
        case ast.StoredRows():
            unlike = f"NOT LIKE ID ({values_text(target.unlike)})" if target.unlike else None
            return words(f"ID ({values_text(target.like)})", unlike)
        case _:
            return expression_text(target)


def _clause(keyword: str, value: ast.Expression | None) -> str:
    return f"{keyword} {expression_text(value)}" if value else ""


def _with(options: tuple[ast.Option, ...]) -> str:
    return f"WITH {_options(options)}" if options else ""


def _options(options: tuple[ast.Option, ...]) -> str:
    pairs = ", ".join(f"{name_text(option.name.text)} = {expression_text(option.value)}" for option in options)
    return f"({pairs})"
