"""Every place of the grammar where a name may stand: one that means nothing is an error or a notice, never NULL.

The places are read off the grammar's rules, so that a new one is missing here until it has been thought of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reddb
from reddb.grammar.language import language

# The rules that an expression is made of; what holds one of them holds a column.
EXPRESSIONS = {
    *("expression", "conjunction", "negation", "predicate", "operand", "product", "factor", "distance", "typed"),
    *("atom", "column", "row_value", "call", "_arguments"),
}
NAMES = {"name", "dotted_name"}

# Rules with a name that is no column, and what it is.
OTHERS = {
    "collection": (
        *("_about", "_vector_index", "alter_collection", "drop_collection", "truncate_collection", "vacuum", "flush"),
        *("create_collection", "create_vector", "create_with_options", "create_alias", "alter_alias", "drop_alias"),
        *("insert", "update", "delete", "source", "vector_search", "show"),
    ),
    "alias of what is read": ("_alias",),
    "metric": ("_metric",),
    "type": ("type",),
    "setting, option, variable or word": (
        *("option", "explain_option", "bare_word", "set_variable", "reset_variable", "variable", "dotted_name"),
    ),
    "prepared statement": ("prepare", "execute", "deallocate"),
    "new field": ("field",),
}

# For every other rule statements with the name `nosuch`, of the collection c.
PLACES: dict[str, list[str]] = {
    "select_item": [
        "SELECT nosuch FROM c",
        "SELECT c.nosuch FROM c",
        "SELECT x.nosuch FROM c AS x",
        "SELECT nosuch.part FROM c",
        "SELECT DISTINCT nosuch FROM c",
        "SELECT max(nosuch) FROM c",
        "DELETE FROM c WHERE id = 1 RETURNING nosuch",
        "UPDATE c SET n = 1 WHERE id = 1 RETURNING nosuch + 1",
        "UPSERT INTO c (id, vector) VALUES (1, [1, 0]) RETURNING c.nosuch",
        "INSERT INTO c (id, vector) VALUES (9, [1, 0]) RETURNING nosuch",
        "EXPLAIN SELECT nosuch FROM c",
    ],
    "star_of": ["SELECT nosuch.* FROM c", "DELETE FROM c WHERE id = 1 RETURNING nosuch.*"],
    "_where": [
        "SELECT id FROM c WHERE nosuch = 1",
        "SELECT count(*) FROM c WHERE nosuch = 1",
        "UPDATE c SET n = 1 WHERE nosuch = 1",
        "DELETE FROM c WHERE nosuch = 1",
        "SELECT id FROM c WHERE nosuch = 1 ORDER BY vector <-> [1, 0] LIMIT 1",
    ],
    "clause": [
        "VECTOR SEARCH c SIMILAR TO [1, 0] WHERE nosuch = 1",
        "SEARCH SIMILAR [1, 0] COLLECTION c WHERE c.nosuch = 1",
    ],
    "_having": ["SELECT count(*) FROM c HAVING max(nosuch) > 1", "SELECT n FROM c GROUP BY n HAVING nosuch > 1"],
    "group_by": [
        "SELECT count(*) FROM c GROUP BY nosuch",
        "SELECT id FROM c GROUP BY nosuch ORDER BY vector <-> [1, 0] LIMIT 1 PER GROUP 1",
        "VECTOR SEARCH c SIMILAR TO [1, 0] GROUP BY nosuch LIMIT 1 PER GROUP 1",
    ],
    "order_item": [
        "SELECT id FROM c ORDER BY nosuch",
        "SELECT id FROM c ORDER BY vector <-> [1, 0], nosuch LIMIT 1",
        "SELECT n AS m FROM c ORDER BY m + nosuch",
    ],
    "assignment": [
        "UPDATE c SET nosuch = 1 WHERE id = 1",
        "INSERT INTO c (id, vector) VALUES (1, [1, 0]) ON CONFLICT DO UPDATE SET nosuch = 1",
        "UPDATE c SET nosuch = DEFAULT WHERE id = 1",
    ],
    "_cell": [
        "UPDATE c SET n = nosuch WHERE id = 1",
        "UPDATE c SET n = c.nosuch + 1 WHERE id = 1",
        "INSERT INTO c (id, vector) VALUES (1, [1, 0]) ON CONFLICT DO UPDATE SET n = EXCLUDED.nosuch",
        "INSERT INTO c (id, vector) VALUES (1, [1, 0]) ON CONFLICT DO UPDATE SET n = c.nosuch",
        "INSERT INTO c (id, vector, n) VALUES (9, [1, 0], nosuch)",
    ],
    "expiry": ["INSERT INTO c (id, vector) VALUES (9, [1, 0]) WITH EXPIRES AT nosuch"],
    "execute": ["EXECUTE p (nosuch)"],
    "condition": [],  # a client's `where`: tested below
    "insert_columns": ["INSERT INTO c (id, vector, nosuch) VALUES (9, [1, 0], 1)"],
    "on_conflict": ["INSERT INTO c (id, vector) VALUES (1, [1, 0]) ON CONFLICT (nosuch) DO NOTHING"],
    "create_index": ["CREATE INDEX ON c (nosuch)", "CREATE INDEX ON c (nosuch.part)"],
    "drop_index": ["DROP INDEX ON c (nosuch)"],
    "action": ["ALTER COLLECTION c DROP FIELD nosuch"],
    "vector_column": ["SHOW VECTOR INDEX ON c.nosuch"],
}
# What makes a column part of an expression, by the name that its rule gives it.
PARTS: dict[str, list[str]] = {
    "or_": ["nosuch OR n = 1"],
    "and_": ["n = 1 AND nosuch"],
    "not_": ["NOT nosuch"],
    "comparison": ["nosuch = 1", "1 < nosuch"],
    "row_comparison": ["(n, nosuch) > (1, 2)", "(1, 2) < (nosuch, n)"],
    "in_list": ["nosuch IN (n, 2)", "n IN (nosuch, 2)"],
    "in_written": ["nosuch IN (1, 2)"],
    "member": ["1 IN nosuch"],
    "contains": ["nosuch CONTAINS 1"],
    "overlap": ["nosuch && [1, 2]"],
    "between": ["nosuch BETWEEN 1 AND 2", "n BETWEEN nosuch AND 2", "n BETWEEN 1 AND nosuch"],
    "like": ["nosuch LIKE 'x'"],
    "ilike": ["nosuch ILIKE 'x'"],
    "is_null": ["nosuch IS NULL"],
    "near": ["nosuch NEAR [1, 0]"],
    "arithmetic": ["nosuch + 1 = 2", "2 = n * nosuch"],
    "sign": ["-nosuch = 1"],
    "distance_of": ["nosuch <-> [1, 0] < 1"],
    "cast": ["nosuch::int = 1"],
    "cast_as": ["CAST(nosuch AS INT) = 1"],
    "call": ["abs(nosuch) = 1", "coalesce(n, nosuch) = 1", "nosuch(n) = 1"],
}
NEW_KEYS = {"insert_columns"}  # where a free key may be born


def rules_with(wanted: set[str]) -> set[str]:
    """The rules that mention one of these; what lark made of repetitions is part of the rule that repeats."""
    mentions: dict[str, set[str]] = defaultdict(set)
    for rule in language().rules:
        mentions[str(rule.origin.name)] |= {str(symbol.name) for symbol in rule.expansion}

    def mentioned(name: str, through: tuple[str, ...] = ()) -> Iterator[str]:
        for other in mentions[name]:
            if other.startswith("__") and other not in through:
                yield from mentioned(other, (*through, other))
            else:
                yield other

    return {name for name in list(mentions) if not name.startswith("__") and wanted & set(mentioned(name))}


def test_every_place_of_the_grammar_is_here() -> None:
    others = {rule for rules in OTHERS.values() for rule in rules}
    assert rules_with(NAMES | EXPRESSIONS) - EXPRESSIONS == others | PLACES.keys()
    aliases = {str(rule.alias) for rule in language().rules if str(rule.origin.name) in EXPRESSIONS and rule.alias}
    assert {*aliases, "call"} == PARTS.keys()


_CREATE = "CREATE COLLECTION c KIND vector DIM 2 METRIC l2 FIELDS (n INT, j JSON{})"


@pytest.fixture(scope="module", params=["strict", "free"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, bool]]:
    """A session, and whether its collection takes free keys."""
    is_free = request.param == "free"
    with reddb.connect(f"file:{tmp_path_factory.mktemp('names')}") as db, db.session() as session:
        session.execute(_CREATE.format(", *" if is_free else ""))
        session.execute("PREPARE p AS SELECT id FROM c WHERE n = $1")
        yield session, is_free


def said(ask: Callable[[], Any]) -> tuple[bool, str]:
    """Whether it is refused, and what is said of it then, or by notices."""
    try:
        return False, " ".join(ask().notices)
    except reddb.RedDBError as error:
        return True, error.message + error.detail.get("excerpt", "")


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        *((rule, statement) for rule, statements in PLACES.items() for statement in statements),
        *((rule, f"SELECT id FROM c WHERE {part}") for rule, parts in PARTS.items() for part in parts),
        *((rule, f"SELECT {part} AS e FROM c") for rule, parts in PARTS.items() for part in parts),
    ],
)
def test_a_name_that_means_nothing_is_told(database: tuple[Any, bool], rule: str, statement: str) -> None:
    db, is_free = database
    row = {"n": 1, "j": {"k": 1}}
    db.upsert("c", [1], [[1, 0]], [row])
    is_refused, words = said(lambda: db.execute(statement))
    assert is_refused or is_free, "a strict collection has no such name"
    if is_refused:
        assert [item.payload for item in db.get("c", [1, 9]) if item] == [row]
    if is_refused or rule not in NEW_KEYS:
        assert "nosuch" in words
    if not is_refused:  # a row may have the key now
        db.execute("DROP COLLECTION c")
        db.execute(_CREATE.format(", *"))


@pytest.mark.parametrize("part", [part for parts in PARTS.values() for part in parts])
def test_the_condition_of_a_client(database: tuple[Any, bool], part: str) -> None:
    db, is_free = database
    db.upsert("c", [1], [[1, 0]], [{"n": 1}])
    is_refused, words = said(lambda: db.search("c", [1, 0], where=part))
    assert is_refused or is_free
    assert "nosuch" in words


def test_a_view_has_its_columns_only(tmp_path: Path) -> None:
    with reddb.connect(f"file:{tmp_path}") as db:
        for part in ("nosuch FROM red.errors", "name FROM red.errors WHERE nosuch = 1", "red.nosuch FROM red.errors"):
            with pytest.raises(reddb.RedDBError, match="there is no column"):
                db.execute(f"SELECT {part}")
        with pytest.raises(reddb.RedDBError, match="there is no column nosuch here"):
            db.execute("SELECT nosuch")
