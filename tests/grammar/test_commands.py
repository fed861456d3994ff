"""Definitions, updates, EXPLAIN and the long lists of IN: what each form reads as."""

from __future__ import annotations

import pytest

from reddb import limits
from reddb.errors import RedDBError
from reddb.grammar import ast, parse, parse_script
from reddb.grammar.ast import Column, FieldDefinition, Identifier, Literal, Parameter

DOCS = Identifier("docs")
YEAR = Identifier("year")


def field(definition: str) -> FieldDefinition:
    statement = parse(f"ALTER COLLECTION docs ADD FIELD {definition}")
    assert isinstance(statement, ast.AlterCollection)
    assert isinstance(statement.action, ast.AddField)
    return statement.action.field


def in_list(items: str) -> ast.InList:
    statement = parse(f"DELETE FROM docs WHERE id {items}")
    assert isinstance(statement, ast.Delete)
    assert isinstance(statement.where, ast.InList)
    return statement.where


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("year INT", FieldDefinition(YEAR, Identifier("INT"))),
        ("Year int[]", FieldDefinition(Identifier("Year"), Identifier("INT[]"))),
        ("year int [ ] NOT NULL", FieldDefinition(YEAR, Identifier("INT[]"), not_null=True)),
        ("year INT DEFAULT 5", FieldDefinition(YEAR, Identifier("INT"), default=Literal(5))),
        ("year INT DEFAULT NULL", FieldDefinition(YEAR, Identifier("INT"), default=Literal(None))),
        ("year INT NOT NULL DEFAULT $1", FieldDefinition(YEAR, Identifier("INT"), True, Parameter(1))),
        ("year INT DEFAULT $1 NOT NULL", FieldDefinition(YEAR, Identifier("INT"), True, Parameter(1))),
        ("year TEXT[] DEFAULT []", FieldDefinition(YEAR, Identifier("TEXT[]"), default=ast.ListLiteral(()))),
        ('year "no type"', FieldDefinition(YEAR, Identifier("NO TYPE"))),
    ],
)
def test_fields(definition: str, expected: FieldDefinition) -> None:
    assert field(definition) == expected
    assert parse(f"CREATE COLLECTION docs KIND flat DIM 3 FIELDS ({definition}, other TEXT)") == ast.CreateCollection(
        DOCS,
        Identifier("flat"),
        Literal(3),
        fields=(expected, FieldDefinition(Identifier("other"), Identifier("TEXT"))),
    )


def test_spans_of_a_field_are_the_source() -> None:
    text = "ALTER COLLECTION docs ADD FIELD Year int[] NOT NULL DEFAULT -5"
    statement = parse(text)
    assert isinstance(statement, ast.AlterCollection)
    assert isinstance(statement.action, ast.AddField)
    added = statement.action.field
    assert added.default is not None
    nodes = [statement, statement.action, added, added.name, added.type, added.default]
    assert [text[node.span.start : node.span.end] for node in nodes] == [
        text,
        "ADD FIELD Year int[] NOT NULL DEFAULT -5",
        "Year int[] NOT NULL DEFAULT -5",
        "Year",
        "int[]",
        "-5",
    ]


def test_the_limit_on_names_holds_for_types() -> None:
    assert field(f"year {'a' * limits.NAME_BYTES_MAX}").type.text == "A" * limits.NAME_BYTES_MAX
    for name in ("a" * limits.NAME_BYTES_MAX + "[]", '"' + "ŉ" * (limits.NAME_BYTES_MAX // 2) + '"'):
        with pytest.raises(RedDBError, match="NAME_BYTES_MAX"):
            field(f"year {name}")


OPTIONS = (ast.Option(Identifier("m"), Literal(16)), ast.Option(Identifier("mode"), Literal("fast")))


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("SEAL", ast.Seal()),
        ("COMPACT", ast.Compact()),
        ("CHECKPOINT", ast.Checkpoint()),
        ("REBUILD", ast.Rebuild()),
        ("REBUILD WITH (m = 16, mode = fast)", ast.Rebuild(OPTIONS)),
        ("SET (m = 16, mode = fast)", ast.SetOptions(OPTIONS)),
        ("DROP FIELD Year", ast.DropField(YEAR)),
    ],
)
def test_alter_collection(action: str, expected: ast.Action) -> None:
    assert parse(f"ALTER COLLECTION docs {action}") == ast.AlterCollection(DOCS, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TRUNCATE COLLECTION docs", ast.TruncateCollection(DOCS)),
        ("TRUNCATE COLLECTION IF EXISTS docs", ast.TruncateCollection(DOCS, if_exists=True)),
        ("CREATE INDEX ON docs (year)", ast.CreateIndex(DOCS, Column(("year",)))),
        ("CREATE INDEX year ON docs (meta.year)", ast.CreateIndex(DOCS, Column(("meta", "year")), YEAR)),
        ("CREATE INDEX IF NOT EXISTS year ON docs (a)", ast.CreateIndex(DOCS, Column(("a",)), YEAR, True)),
        ("DROP INDEX ON docs (year)", ast.DropIndex(DOCS, Column(("year",)))),
        ("DROP INDEX IF EXISTS ON docs (year)", ast.DropIndex(DOCS, Column(("year",)), if_exists=True)),
        ("SHOW SEGMENTS FOR docs", ast.Show(ast.Subject.SEGMENTS, DOCS)),
        ("SHOW INDEXES FOR docs", ast.Show(ast.Subject.INDEXES, DOCS)),
        ("SHOW STATS FOR docs", ast.Show(ast.Subject.STATS, DOCS)),
        ("SHOW SETTINGS", ast.Show(ast.Subject.SETTINGS)),
    ],
)
def test_definitions(text: str, expected: ast.Statement) -> None:
    assert parse(text) == expected


def test_update() -> None:
    vector = ast.Assignment(Identifier("vector"), Parameter(1))
    year = ast.Assignment(YEAR, Literal(None))
    assert parse("UPDATE docs SET vector = ?, year = NULL") == ast.Update(DOCS, (vector, year))
    assert parse("UPDATE docs SET year = NULL WHERE year") == ast.Update(DOCS, (year,), Column(("year",)))


@pytest.mark.parametrize("text", ["SELECT * FROM docs", "DELETE FROM docs WHERE id = $1", "SHOW SETTINGS"])
def test_explain(text: str) -> None:
    command = parse(text)
    assert not isinstance(command, ast.Explain)
    assert parse(f"EXPLAIN {text}") == ast.Explain(command)
    assert parse(f"EXPLAIN ANALYZE {text};") == ast.Explain(command, analyze=True)


# --- integers after IN are one token -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "items", ["1", "-0", "1,2,3", "1 , -2,\n+3", "007", f"{limits.ID_INT_MIN}, {limits.ID_INT_MAX}"]
)
@pytest.mark.parametrize("before", ["IN (", "in(", "NOT IN\n\t( "])
def test_integers_read_as_they_do_one_by_one(before: str, items: str) -> None:
    expected = in_list(f"{before}/**/{items})")  # a comment makes them tokens of their own
    found = in_list(f"{before}{items} )")
    assert repr(found) == repr(expected)
    assert [node.span.start + 4 for node in found.items] == [node.span.start for node in expected.items]


def test_spans_of_integers_are_the_source() -> None:
    text = "SHOW SETTINGS; DELETE FROM docs WHERE id IN (1, -22,333 )"
    _, statement = parse_script(text)
    assert isinstance(statement, ast.Delete)
    assert isinstance(statement.where, ast.InList)
    spans = [node.span for node in (statement.where, *statement.where.items)]
    assert [text[span.start : span.end] for span in spans] == ["id IN (1, -22,333 )", "1", "-22", "333"]


@pytest.mark.parametrize("items", ["1, 2.5", "1e3", ".5, 1", "1, 'a'", "$1, 2", "[1], 2"])
def test_other_values_stay_what_they_are(items: str) -> None:
    values = parse(f"INSERT INTO docs (v) VALUES ({'), ('.join(items.split(', '))})")
    assert isinstance(values, ast.Insert)
    assert in_list(f"IN ({items})").items == tuple(row[0] for row in values.rows)


@pytest.mark.parametrize("word", ["begin", "in_", "xin", '"in"'])
def test_a_name_that_ends_or_begins_like_in_is_a_name(word: str) -> None:
    statement = parse(f"CREATE INDEX ON {word} (a)")
    assert isinstance(statement, ast.CreateIndex)
    assert statement.collection.text == word.strip('"')


def test_the_dotless_i_is_no_in() -> None:
    with pytest.raises(RedDBError) as caught:
        in_list("\N{LATIN SMALL LETTER DOTLESS I}N (1)")
    assert caught.value.name == "SYNTAX"
