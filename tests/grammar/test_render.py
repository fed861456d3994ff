"""Statements to text and back: the corpus, and any statement that can be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reddb import limits
from reddb.grammar import ast, parse, parse_condition, render
from reddb.grammar.render_expressions import expression_text

CORPUS = Path(__file__).with_name("corpus.sql").read_text("utf-8").splitlines()


def assert_round_trip(statement: ast.Statement) -> None:
    again = parse(render(statement))
    assert again == statement
    assert repr(again) == repr(statement)  # equality alone takes 1, 1.0 and TRUE for one


@pytest.mark.parametrize("line", CORPUS)
def test_corpus(line: str) -> None:
    statement = parse(line)
    assert_round_trip(statement)
    assert render(parse(render(statement))) == render(statement)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (
            'create collection if not exists "Docs" kind vector.turbo dim 0384 metric L2 with (m=+16, mode=Fast);',
            "CREATE COLLECTION IF NOT EXISTS \"Docs\" KIND vector.turbo DIM 384 METRIC l2 WITH (m = 16, mode = 'fast')",
        ),
        ('create collection a kind x."Y" dim 3', 'CREATE COLLECTION a KIND "x.Y" DIM 3'),
        ("drop collection if exists docs", "DROP COLLECTION IF EXISTS docs"),
        (
            'create collection a kind f dim 3 fields(t text[],n int default+1 not null,o"order")with(m=1)',
            'CREATE COLLECTION a KIND f DIM 3 FIELDS (t TEXT[], n INT NOT NULL DEFAULT 1, o "ORDER") WITH (m = 1)',
        ),
        ("truncate collection if exists docs", "TRUNCATE COLLECTION IF EXISTS docs"),
        ("alter collection docs seal", "ALTER COLLECTION docs SEAL"),
        ("alter collection docs rebuild with(m=1)", "ALTER COLLECTION docs REBUILD WITH (m = 1)"),
        ("alter collection docs set(m=1)", "ALTER COLLECTION docs SET (m = 1)"),
        ("alter collection docs add field Y int", 'ALTER COLLECTION docs ADD FIELD "Y" INT'),
        ("alter collection docs drop field y", "ALTER COLLECTION docs DROP FIELD y"),
        ("create index if not exists i on d(a.b)", "CREATE INDEX IF NOT EXISTS i ON d (a.b)"),
        ('create index "on" on "on"(y)', 'CREATE INDEX "on" ON "on" (y)'),
        ("drop index if exists on d(y)", "DROP INDEX IF EXISTS ON d (y)"),
        ("update d set a=1,v=[1] where b", "UPDATE d SET a = 1, v = [1.0] WHERE b"),
        ("explain analyze show settings", "EXPLAIN ANALYZE SHOW SETTINGS"),
        ("show collections", "SHOW COLLECTIONS"),
        ('show collection "from"', 'SHOW COLLECTION "from"'),
        ('show collection "kind"', "SHOW COLLECTION kind"),
        (
            "upsert into d(id,v,t,n) values(1,[.1,2,3e-4],['a'],null),(?,?,[],-1.50)",
            "UPSERT INTO d (id, v, t, n) VALUES (1, [0.1, 2.0, 0.0003], ['a'], NULL), ($1, $2, [], -1.5)",
        ),
        (
            'select count( * ) as n_, "A".b as c from d',
            'SELECT count(*) AS n_, "A".b AS c FROM d',
        ),
        (
            "select * from d where (((a=1)) and (b!=2 or not (c))) order by v<=>$1 asc limit 5 offset 6",
            "SELECT * FROM d WHERE a = 1 AND (b <> 2 OR NOT c) ORDER BY v <=> $1 LIMIT 5 OFFSET 6",
        ),
        (
            "delete from d where a not in (1,'x') and b between 1 and 2 and c not like 'y' and d is not null",
            "DELETE FROM d WHERE a NOT IN (1, 'x') AND b BETWEEN 1 AND 2 AND c NOT LIKE 'y' AND d IS NOT NULL",
        ),
        (
            "delete from d where (a in b) and not ('x' not in $1) or (c&&['x']) and id in(1,2)",
            "DELETE FROM d WHERE a IN b AND NOT 'x' NOT IN $1 OR c && ['x'] AND id IN (1, 2)",
        ),
        (
            "search similar $1 collection d k=5 min_score .5 threshold 1 metric L2",
            "VECTOR SEARCH d SIMILAR TO $1 METRIC l2 THRESHOLD 1 MIN_SCORE 0.5 LIMIT 5",
        ),
        (
            "search similar id 'it''s' collection d with (ef=1) k=5 include metadata include vectors where ok",
            "VECTOR SEARCH d SIMILAR TO ID 'it''s' WHERE ok INCLUDE VECTORS INCLUDE METADATA LIMIT 5 WITH (ef = 1)",
        ),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert render(parse(text)) == canonical


DEPTH = limits.STATEMENT_DEPTH_MAX


@pytest.mark.parametrize(
    "text",
    [
        f"DELETE FROM docs WHERE z <-> {'(a OR b AND c < d <-> ' * DEPTH}e{')' * DEPTH}",
        f"DELETE FROM docs WHERE z <-> {'(a OR b AND c < d + ' * (DEPTH // 2)}e{')' * (DEPTH // 2)}",
        f"SELECT {'-a::INT * (' * (DEPTH // 4)}a OR b{')' * (DEPTH // 4)}",
        f"SELECT {'f(' * DEPTH}a{')' * DEPTH}",
        f"SELECT a{' + NULL' * DEPTH}",
        f"SELECT {'-(' * (DEPTH // 2)}a OR b{')' * (DEPTH // 2)}",
    ],
)
def test_the_deepest_statements_render(text: str) -> None:
    assert render(parse(text)) == text


# --- any statement that can be made ------------------------------------------------------------------------

names = st.one_of(
    st.sampled_from(
        ["docs", "id", "Docs", "select", "from", "kind", "k", "on", "if", "a b", 'q"q', "1st", "a.b", "a.", "ü", "_"]
        + [
            "interval",
            "array",
            "cast",
            "near",
            "contains",
            "all",
            "distinct",
            "group",
            "settings",
            "null",
            "red.errors",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=15),
)
identifiers = st.builds(ast.Identifier, names)
columns = st.builds(ast.Column, st.lists(names, min_size=1, max_size=3).map(tuple))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(
    st.integers(limits.ID_INT_MIN, limits.ID_INT_MAX),
    st.sampled_from([0, -1, limits.ID_INT_MIN, limits.ID_INT_MAX, 0.0, -0.0, -0.5, 1e300, -5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
)
constants = st.none() | st.booleans() | texts | st.sampled_from(["'", "''", "--", "/*", ";", "\n"])
literals = st.builds(ast.Literal, numbers | constants)
parameters = st.builds(
    ast.Parameter,
    st.one_of(st.integers(1, limits.PARAMETERS_MAX), st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)),
)
vectors = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=5).map(
    lambda coordinates: ast.VectorLiteral(np.array(coordinates, "<f4").tobytes())
)


def tuples(parts: st.SearchStrategy[Any], min_size: int = 0, max_size: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(parts, min_size=min_size, max_size=max_size).map(tuple)


def list_literals(values: st.SearchStrategy[Any]) -> st.SearchStrategy[ast.ListLiteral]:
    def is_list(items: list[Any]) -> bool:
        return not items or not all(isinstance(item, ast.Literal) and item.is_number for item in items)

    return st.lists(values, max_size=3).filter(is_list).map(lambda items: ast.ListLiteral(tuple(items)))


integers = st.builds(ast.Literal, st.integers(limits.ID_INT_MIN, limits.ID_INT_MAX))
values = st.recursive(literals | parameters | vectors, list_literals, max_leaves=4)
types = st.builds(
    ast.Identifier,
    st.sampled_from(["TEXT", "INT[]", "_", "ORDER", "ORDER[]", "[]", "A[][]", "KIND"]) | names.map(str.upper),
)


def is_no_number(node: ast.Expression) -> bool:
    return not isinstance(node, ast.Literal) or not node.is_number


def operations(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(ast.Arithmetic, st.sampled_from(ast.ARITHMETIC), parts, parts),
        st.builds(ast.Negative, parts.filter(is_no_number)),
        st.builds(ast.Call, names, tuples(parts)),
        st.builds(ast.Call, names, tuples(parts, 1, 1), st.just(True)),
        st.builds(ast.Call, names, star=st.just(True)),
        st.builds(ast.Cast, parts, types),
        st.builds(ast.Distance, st.sampled_from(sorted(ast.DISTANCES)), parts, parts),
    )


@st.composite
def row_comparisons(draw: st.DrawFn, parts: st.SearchStrategy[Any]) -> ast.RowComparison:
    left = draw(tuples(parts, 2))
    right = draw(tuples(parts, len(left), len(left)))
    return ast.RowComparison(draw(st.sampled_from(ast.COMPARISONS)), left, right)


def conditions(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(ast.Comparison, st.sampled_from(ast.COMPARISONS), parts, parts),
        row_comparisons(parts),
        st.builds(ast.InList, parts, tuples(parts, 1) | tuples(integers, 1), st.booleans()),
        st.builds(ast.Member, parts, columns | parameters, st.booleans()),
        st.builds(ast.Overlap, parts, vectors | parameters | list_literals(values)),
        st.builds(ast.Between, parts, parts, parts, st.booleans()),
        st.builds(ast.Like, parts, parts, st.booleans(), st.booleans()),
        st.builds(ast.IsNull, parts, st.booleans()),
        st.builds(ast.Near, parts, parts),
        st.builds(ast.Not, parts),
        st.builds(ast.And, tuples(parts, 2)),
        st.builds(ast.Or, tuples(parts, 2)),
    )


leaves = values | columns | st.builds(ast.Interval, texts)
expressions = st.recursive(leaves, lambda parts: operations(parts) | conditions(parts), max_leaves=12)
small = st.recursive(leaves, lambda parts: operations(parts) | conditions(parts), max_leaves=4)
wheres = st.none() | expressions
counts = st.builds(ast.Literal, st.integers(0, limits.ID_INT_MAX)) | parameters
limits_ = st.builds(ast.Limit, counts, st.none() | counts)
bounds = st.builds(ast.Literal, numbers) | parameters
row_ids = st.builds(ast.Literal, st.integers(-9, 9) | st.text("a'", max_size=3)) | parameters
settings_ = literals | parameters


def named(parts: st.SearchStrategy[Any], min_size: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(parts, min_size=min_size, max_size=3, unique_by=lambda part: part.name).map(tuple)


options = named(st.builds(ast.Option, identifiers, settings_))
fields = st.builds(ast.FieldDefinition, identifiers, types, st.booleans(), st.none() | values)
actions = st.one_of(
    st.builds(ast.Seal),
    st.builds(ast.Compact),
    st.builds(ast.Checkpoint),
    st.builds(ast.Rebuild, options),
    st.builds(ast.SetOptions, named(st.builds(ast.Option, identifiers, settings_), min_size=1)),
    st.builds(ast.AddField, fields),
    st.builds(ast.DropField, identifiers),
)
dimensions = st.builds(ast.Literal, st.integers(0, limits.ID_INT_MAX))
definitions = st.one_of(
    st.builds(
        ast.CreateCollection,
        identifiers,
        identifiers,
        dimensions,
        st.none() | identifiers,
        named(fields),
        options,
        st.booleans(),
    ),
    st.builds(ast.DropCollection, identifiers, st.booleans()),
    st.builds(ast.TruncateCollection, identifiers, st.booleans()),
    st.builds(ast.AlterCollection, identifiers, actions),
    st.builds(ast.CreateIndex, identifiers, columns, st.none() | identifiers, st.booleans()),
    st.builds(ast.DropIndex, identifiers, columns, st.booleans()),
    st.builds(ast.CreateAlias, identifiers, identifiers, st.booleans()),
    st.builds(ast.AlterAlias, identifiers, identifiers),
    st.builds(ast.DropAlias, identifiers, st.booleans()),
)

named_subjects = st.sampled_from([ast.Subject.SEGMENTS, ast.Subject.STATS, ast.Subject.INDEXES])
other_subjects = st.sampled_from([item for item in ast.Subject if item is not ast.Subject.COLLECTION])
shows = st.one_of(
    st.builds(ast.Show, other_subjects),
    st.builds(ast.Show, st.just(ast.Subject.COLLECTION), identifiers),
    st.builds(ast.Show, named_subjects, st.none() | identifiers),
    st.builds(ast.Show, st.just(ast.Subject.SETTINGS), identifiers),
    st.builds(ast.Show, st.just(ast.Subject.SETTINGS), like=st.builds(ast.Literal, st.text("a%_'", max_size=3))),
)

select_items = st.one_of(
    st.builds(ast.SelectItem, st.builds(ast.Star)),
    st.builds(ast.SelectItem, expressions, st.none() | identifiers),
)
returning = tuples(
    st.builds(ast.SelectItem, st.builds(ast.Star)) | st.builds(ast.SelectItem, small, st.none() | identifiers),
    max_size=2,
)
assignments = st.lists(
    st.builds(ast.Assignment, identifiers, small), min_size=1, max_size=3, unique_by=lambda part: part.column
).map(tuple)
amounts = st.builds(ast.Literal, st.integers(0, limits.ID_INT_MAX) | st.floats(0, 1e300).map(abs))
expiries = st.one_of(
    st.builds(ast.Ttl, amounts, st.none() | identifiers),
    st.builds(ast.Ttl, st.builds(ast.Literal, texts) | parameters),
    st.builds(ast.ExpiresAt, small),
)
conflicts = st.one_of(
    st.builds(ast.OnConflict, st.just(False)), st.builds(ast.OnConflict, st.just(True), st.just(()) | assignments)
)


@st.composite
def inserts(draw: st.DrawFn) -> ast.Insert:
    inserted = draw(st.lists(identifiers, min_size=1, max_size=3, unique=True))
    rows = draw(st.lists(st.tuples(*[small] * len(inserted)), min_size=1, max_size=3))
    upsert = draw(st.booleans())
    conflict = None if upsert else draw(st.none() | conflicts)
    expiry = draw(st.none() | expiries)
    return ast.Insert(
        draw(identifiers), tuple(inserted), tuple(rows), upsert, expiry, conflict, returning=draw(returning)
    )


orders = st.builds(ast.OrderBy, expressions, st.booleans(), st.none() | st.booleans())
selects = st.builds(
    ast.Select,
    tuples(select_items, 1),
    st.none() | identifiers,
    wheres,
    tuples(expressions, max_size=2),
    wheres,
    tuples(orders, max_size=2),
    st.none() | limits_,
    st.none() | counts,
    options,
    st.booleans(),
)
targets = st.one_of(
    vectors,
    parameters,
    st.builds(ast.StoredRow, row_ids),
    st.builds(ast.StoredRows, tuples(row_ids, 1), tuples(row_ids)),
)
searches = st.builds(
    ast.VectorSearch,
    identifiers,
    targets,
    wheres,
    st.none() | identifiers,
    st.none() | bounds,
    st.none() | bounds,
    tuples(expressions, max_size=2),
    st.none() | limits_,
    st.none() | counts,
    st.booleans(),
    st.booleans(),
    options,
)
plain = st.one_of(
    definitions,
    shows,
    inserts(),
    st.builds(ast.Update, identifiers, assignments, wheres, returning),
    st.builds(ast.Delete, identifiers, wheres, returning),
    selects,
    searches,
)
explains = st.builds(ast.Explain, plain, st.just(True), st.booleans(), st.booleans()) | st.builds(
    ast.Explain, plain, json=st.booleans()
)
session_commands = st.one_of(
    st.builds(ast.SetVariable, identifiers, settings_),
    st.builds(ast.ResetVariable, st.none() | identifiers),
    st.builds(ast.Kill, counts),
    st.builds(ast.Prepare, identifiers, plain | explains),
    st.builds(ast.Execute, identifiers, tuples(small)),
    st.builds(ast.Deallocate, st.none() | identifiers),
)
transactions = st.builds(ast.Begin) | st.builds(ast.Commit) | st.builds(ast.Rollback)
statements = plain | explains | session_commands | transactions


@settings(max_examples=600, deadline=None)
@given(statements)
def test_any_statement(statement: ast.Statement) -> None:
    assert_round_trip(statement)


@settings(max_examples=400, deadline=None)
@given(expressions)
def test_any_expression(expression: ast.Expression) -> None:
    again = parse_condition(expression_text(expression))
    assert repr(again) == repr(expression)
