"""Text to statements: the forms, their spellings, spans, limits, scripts."""

from __future__ import annotations

import pytest

from reddb import limits
from reddb.errors import RedDBError
from reddb.grammar import ast, excerpt, keywords, parse, parse_script, reserved_words, split_statements
from reddb.grammar.ast import Column, Comparison, Identifier, Literal, Parameter


def where(condition: str) -> ast.Expression:
    statement = parse(f"DELETE FROM docs WHERE {condition}")
    assert isinstance(statement, ast.Delete)
    assert statement.where is not None
    return statement.where


def refused(text: str) -> RedDBError:
    with pytest.raises(RedDBError) as caught:
        parse(text)
    return caught.value


A = Comparison("=", Column(("a",)), Literal(1))


def test_create_collection() -> None:
    text = "CREATE COLLECTION IF NOT EXISTS Docs KIND vector.turbo DIM 384 METRIC cosine WITH (bits = 4, mode = Fast)"
    options = (ast.Option(Identifier("bits"), Literal(4)), ast.Option(Identifier("mode"), Literal("fast")))
    assert parse(text) == ast.CreateCollection(
        Identifier("docs"), Identifier("vector.turbo"), Literal(384), Identifier("cosine"), (), options, True
    )


def test_insert_and_upsert() -> None:
    vector = parse("INSERT INTO d (v) VALUES ([1, 2])").rows[0][0]  # type: ignore[union-attr]
    assert vector.array.tolist() == [1.0, 2.0]  # type: ignore[union-attr]
    expected = ast.Insert(
        Identifier("d"),
        (Identifier("id"), Identifier("Tags"), Identifier("v")),
        ((Literal("it's"), ast.ListLiteral((Literal("a"), Literal(None))), vector),),
    )
    text = """INTO d (id, "Tags", v) VALUES ('it''s', ['a', NULL], [1.0, 2e0])"""
    assert parse(f"INSERT {text}") == expected
    assert parse(f"UPSERT {text}") == ast.Insert(expected.collection, expected.columns, expected.rows, upsert=True)


def test_select() -> None:
    text = "SELECT *, count(*) AS n, a.B FROM docs WHERE a = 1 ORDER BY v <=> $1 DESC LIMIT 5 OFFSET :o WITH (ef = 9)"
    assert parse(text) == ast.Select(
        (
            ast.SelectItem(ast.Star()),
            ast.SelectItem(ast.Call("count", star=True), Identifier("n")),
            ast.SelectItem(Column(("a", "b"))),
        ),
        Identifier("docs"),
        A,
        order=(ast.OrderBy(ast.Distance("<=>", Column(("v",)), Parameter(1)), descending=True),),
        limit=ast.Limit(Literal(5)),
        offset=Parameter("o"),
        options=(ast.Option(Identifier("ef"), Literal(9)),),
    )


def test_select_without_clauses() -> None:
    assert parse("SELECT id FROM docs") == ast.Select((ast.SelectItem(Column(("id",))),), Identifier("docs"))


def test_vector_search_takes_clauses_in_any_order() -> None:
    expected = ast.VectorSearch(
        Identifier("docs"),
        Parameter(1),
        where=A,
        metric=Identifier("ip"),
        threshold=Literal(-0.5),
        min_score=Parameter("s"),
        limit=ast.Limit(Literal(5)),
        include_vectors=True,
        include_metadata=True,
        options=(ast.Option(Identifier("ef"), Literal(64)),),
    )
    for clauses in (
        "WHERE a = 1 METRIC ip THRESHOLD -.5 MIN_SCORE :s INCLUDE VECTORS INCLUDE METADATA LIMIT 5 WITH (ef = 64)",
        "WITH (ef = 64) K = 5 INCLUDE METADATA MIN_SCORE :s THRESHOLD -0.5 METRIC IP WHERE a = 1 INCLUDE VECTORS",
    ):
        assert parse(f"VECTOR SEARCH docs SIMILAR TO $1 {clauses}") == expected
        assert parse(f"SEARCH SIMILAR $1 COLLECTION docs {clauses}") == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("$2", Parameter(2)),
        ("ID 7", ast.StoredRow(Literal(7))),
        ("ID -7", ast.StoredRow(Literal(-7))),
        ("ID 'x'", ast.StoredRow(Literal("x"))),
        ("ID :row", ast.StoredRow(Parameter("row"))),
    ],
)
def test_vector_search_targets(target: str, expected: Parameter | ast.StoredRow) -> None:
    assert parse(f"VECTOR SEARCH d SIMILAR TO {target}") == ast.VectorSearch(Identifier("d"), expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("007", 7),
        ("+5", 5),
        (str(limits.ID_INT_MAX), limits.ID_INT_MAX),
        (str(limits.ID_INT_MIN), limits.ID_INT_MIN),
        ("0" * 5000 + "1", 1),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1E+2", -100.0),
        ("5e-324", 5e-324),
        ("TRUE", True),
        ("false", False),
        ("NULL", None),
        ("''", ""),
        ("'a''b\nc'", "a'b\nc"),
        ("'--;/*'", "--;/*"),
    ],
)
def test_literals_keep_value_and_type(text: str, value: object) -> None:
    comparison = where(f"a = {text}")
    assert isinstance(comparison, Comparison)
    assert isinstance(comparison.right, Literal)
    assert (type(comparison.right.value), comparison.right.value) == (type(value), value)


def test_parameters_are_numbered_from_left_to_right() -> None:
    text = "VECTOR SEARCH d SIMILAR TO ? WHERE a = ? AND b IN (?, ?) LIMIT ?"
    assert parse(text) == parse("VECTOR SEARCH d SIMILAR TO $1 WHERE a = $2 AND b IN ($3, $4) LIMIT $5")


def test_parameters_of_each_statement_begin_anew() -> None:
    first, second = parse_script("SHOW COLLECTION a; DELETE FROM a WHERE b = ?; DELETE FROM a WHERE b = ?")[1:]
    assert first == second == ast.Delete(Identifier("a"), Comparison("=", Column(("b",)), Parameter(1)))


def test_names_fold_only_without_quotes() -> None:
    assert parse("SHOW COLLECTION DoCs") == ast.Show(ast.Subject.COLLECTION, Identifier("docs"))
    assert parse('SHOW COLLECTION "DoCs"') == ast.Show(ast.Subject.COLLECTION, Identifier("DoCs"))
    assert parse('SHOW COLLECTION "a""b"') == ast.Show(ast.Subject.COLLECTION, Identifier('a"b'))
    assert where(":Name = 1") == Comparison("=", Parameter("Name"), Literal(1))


def test_every_keyword_is_a_name_unless_it_is_reserved() -> None:
    text = "SELECT {0}, {0}.{0} AS {0} FROM {0} WHERE {0} = 1 AND {0} ORDER BY {0} DESC LIMIT 1 WITH ({0} = {0})"
    for word in keywords() - reserved_words():
        assert parse(text.format(word)) == parse(text.format(f'"{word.lower()}"'))
    for word in reserved_words():
        assert refused(f"SHOW COLLECTION {word}").name == "SYNTAX"


def test_the_reserved_words() -> None:
    # A word added here breaks statements that use it as a name.
    assert " ".join(sorted(reserved_words())) == (
        "ALL AND AS BETWEEN CAST DEFAULT DISTINCT FALSE FROM GROUP HAVING ILIKE IN INTO IS LIKE LIMIT NOT NULL ON OR "
        "ORDER RETURNING SELECT TRUE VALUES WHERE WITH"
    )


def test_keywords_are_ascii_only() -> None:
    # With re.IGNORECASE alone, the long s and the Kelvin sign would count as s and k.
    assert refused("\N{LATIN SMALL LETTER LONG S}HOW COLLECTIONS").name == "SYNTAX"
    assert refused("SHOW COLLECTION \N{KELVIN SIGN}").name == "SYNTAX"


def test_spans_are_the_source() -> None:
    text = "  SELECT Id, count(*) AS n FROM docs WHERE (a = 'x' OR b IN (1, 2)) AND v <=> [1, 2] < $1 LIMIT 5 ;"
    select = parse(text)
    assert isinstance(select, ast.Select)
    assert isinstance(select.where, ast.And)
    either, closer = select.where.operands
    assert isinstance(either, ast.Or)
    assert isinstance(closer, Comparison)
    assert isinstance(closer.left, ast.Distance)
    assert isinstance(select.items[1].alias, Identifier)
    assert isinstance(select.limit, ast.Limit)
    assert isinstance(select.source, Identifier)
    parts = {
        text.strip(" ;"): select,
        "Id": select.items[0].expression,
        "count(*) AS n": select.items[1],
        "n": select.items[1].alias,
        "docs": select.source,
        "(a = 'x' OR b IN (1, 2)) AND v <=> [1, 2] < $1": select.where,
        "a = 'x' OR b IN (1, 2)": either,
        "b IN (1, 2)": either.operands[1],
        "[1, 2]": closer.left.right,
        "$1": closer.right,
        "LIMIT 5": select.limit,
        "5": select.limit.count,
    }
    assert {text[node.span.start : node.span.end]: node for node in parts.values()} == parts


def test_spans_and_errors_of_a_script_point_into_the_script() -> None:
    script = "SHOW COLLECTIONS;\nSHOW COLLECTION docs;\nSHOW COLLECTION  other"
    span = parse_script(script)[2].name.span  # type: ignore[union-attr]
    assert script[span.start : span.end] == "other"
    with pytest.raises(RedDBError) as caught:
        parse_script(script + ";\nDROP COLECTION a; nonsense")
    assert (caught.value.detail["line"], caught.value.detail["column"]) == (4, 6)


def test_a_script_may_have_empty_statements() -> None:
    assert parse_script("") == ()
    assert parse_script(" ; -- nothing\n ;; /* ; */ SHOW COLLECTIONS;; ") == (ast.Show(ast.Subject.COLLECTIONS),)


@pytest.mark.parametrize(
    ("text", "complete", "rest"),
    [
        ("", [], ""),
        ("  \n ", [], ""),
        (";;", [], ""),
        ("a", [], "a"),
        ("a;", ["a;"], ""),
        (" a ; b ", ["a ;"], "b"),
        ("a;b;c", ["a;", "b;"], "c"),
        ("a ';' b; c", ["a ';' b;"], "c"),
        ("a 'it''s;' b; c", ["a 'it''s;' b;"], "c"),
        ('a ";" b; c', ['a ";" b;'], "c"),
        ('a "x"";" b; c', ['a "x"";" b;'], "c"),
        ("a -- ; no\n; c", ["a -- ; no\n;"], "c"),
        ("a /* ; */; c", ["a /* ; */;"], "c"),
        ("a 'open; b;", [], "a 'open; b;"),
        ("a; b 'x''; c", ["a;"], "b 'x''; c"),
        ('a "open; b;', [], 'a "open; b;'),
        ("a; /* open; b;", ["a;"], "/* open; b;"),
        ("a; -- done", ["a;"], ""),
        ("a; -- done;\n", ["a;"], ""),
        ("-- first\na;", ["-- first\na;"], ""),
        ("a - 1; b / 2; c", ["a - 1;", "b / 2;"], "c"),
        ("'-- no' ; b", ["'-- no' ;"], "b"),
    ],
)
def test_split_statements(text: str, complete: list[str], rest: str) -> None:
    assert split_statements(text) == (complete, rest)


DEPTH = limits.STATEMENT_DEPTH_MAX


@pytest.mark.parametrize(
    ("opening", "middle", "closing"),
    [
        ("(", "a", ")"),
        ("NOT ", "a", ""),
        ("[", "'a'", "]"),
        ("(a OR b AND c < d <-> ", "e", ")"),
        ("", "a", " + b"),
        ("", "k", " * k"),
        ("", "1", " - 1"),
        ("", "a", " % NULL"),
        ("", "a", " + b <-> c"),
        ("", "a", " - INTERVAL '1 h'"),
        ("", "a", " + b.c"),
        ("", "a", "::INT"),
        ("- ", "a", ""),
    ],
)
def test_limit_on_nesting(opening: str, middle: str, closing: str) -> None:
    text = f"{opening * DEPTH}{middle}{closing * DEPTH}"
    assert hash(where(text)) == hash(where(text))
    error = refused(f"DELETE FROM docs WHERE {opening}{text}{closing}")
    assert error.name == "LIMIT_EXCEEDED"
    assert "STATEMENT_DEPTH_MAX" in error.message


@pytest.mark.parametrize("tail", [" / CAST(b AS INT)", " + f(b)", " - (b + c)", " * -b", " + ARRAY['x']"])
def test_limit_on_nesting_holds_for_chains_of_longer_operands(tail: str) -> None:
    assert isinstance(where(f"a{tail * (DEPTH // 4)}"), ast.Arithmetic)
    assert refused(f"DELETE FROM docs WHERE a{tail * (DEPTH + 1)}").name == "LIMIT_EXCEEDED"


def test_limit_on_nesting_counts_brackets_and_nots_together() -> None:
    half = DEPTH // 2
    assert isinstance(where("NOT (" * half + "a" + ")" * half), ast.Not)
    assert refused("DELETE FROM docs WHERE " + "NOT (" * half + "NOT a" + ")" * half).name == "LIMIT_EXCEEDED"


def test_what_stands_side_by_side_is_not_nested() -> None:
    conditions = " AND ".join(["NOT (a = 1)", "b NOT IN (1)", "NOT c IS NOT NULL", "a + 1 = -b * 2"] * (DEPTH // 2))
    assert isinstance(where(conditions), ast.And)
    assert isinstance(where(f"f({', '.join(['a + 1'] * DEPTH)}) + 1"), ast.Arithmetic)


def test_limit_on_names() -> None:
    longest = "ü" * (limits.NAME_BYTES_MAX // 2) + "a"
    assert parse(f'SHOW COLLECTION "{longest}"') == ast.Show(ast.Subject.COLLECTION, Identifier(longest))
    for text in (
        f'SHOW COLLECTION "{longest}a"',
        f"SELECT a.{'b' * 64} FROM docs",
        f"SELECT a FROM docs LIMIT :{'b' * 64}",
        f"CREATE COLLECTION docs KIND {'a' * 32}.{'b' * 32} DIM 3",
    ):
        error = refused(text)
        assert error.name == "LIMIT_EXCEEDED"
        assert "NAME_BYTES_MAX" in error.message


def test_limit_on_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    assert where("a = $65535") == Comparison("=", Column(("a",)), Parameter(limits.PARAMETERS_MAX))
    assert refused("DELETE FROM docs WHERE a = $65536").name == "LIMIT_EXCEEDED"
    assert refused(f"DELETE FROM docs WHERE a = ${'9' * 10_000}").name == "LIMIT_EXCEEDED"
    monkeypatch.setattr(limits, "PARAMETERS_MAX", 3)
    assert isinstance(where("a IN (?, ?, ?)"), ast.InList)
    assert isinstance(where("a IN (:a, :b, :c, :a, :b)"), ast.InList)
    for items in ("?, ?, ?, ?", ":a, :b, :c, :d"):
        error = refused(f"DELETE FROM docs WHERE a IN ({items})")
        assert error.name == "LIMIT_EXCEEDED"
        assert "PARAMETERS_MAX" in error.message


def test_half_a_surrogate_pair_is_refused() -> None:
    assert refused("SHOW COLLECTION '\ud800'").name == "SYNTAX"


@pytest.mark.parametrize(
    ("text", "start", "end", "line", "column", "picture"),
    [
        ("abc", 1, 2, 1, 2, "abc\n ^"),
        ("abc", 0, 3, 1, 1, "abc\n^^^"),
        ("abc", 3, 3, 1, 4, "abc\n   ^"),
        ("", 0, 0, 1, 1, "\n^"),
        ("a\nbcd\ne", 3, 4, 2, 2, "bcd\n ^"),
        ("a\nbcd\ne", 3, 7, 2, 2, "bcd\n ^^"),
        ("a\n\n", 3, 3, 3, 1, "\n^"),
        ("\ta\x1bb", 3, 4, 1, 4, " a b\n   ^"),
        ("x" * 100, 99, 100, 1, 100, "x" * 100 + "\n" + " " * 99 + "^"),
        ("x" * 101, 0, 101, 1, 1, "x" * 97 + "...\n" + "^" * 100),
        ("x" * 300, 150, 151, 1, 151, "..." + "x" * 94 + "...\n" + " " * 50 + "^"),
        ("x" * 300, 300, 300, 1, 301, "..." + "x" * 96 + "\n" + " " * 99 + "^"),
    ],
)
def test_excerpt(text: str, start: int, end: int, line: int, column: int, picture: str) -> None:
    assert excerpt(text, start, end) == {"line": line, "column": column, "excerpt": picture}
