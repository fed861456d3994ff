"""What a session sets, prepares and sees, in the same words on every face."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

import reddb
from reddb import errors, limits
from reddb.fields import FieldType
from reddb.metrics import METRICS
from reddb.query.views import VIEWS, Maker
from reddb.session_settings import SESSION_SETTINGS
from reddb.settings import SETTINGS

# What a value of a column may be in Python; JSON is any.
TYPES = {
    FieldType.TEXT: str,
    FieldType.INT: int,
    FieldType.FLOAT: float,
    FieldType.BOOL: bool,
    FieldType.TIMESTAMP: datetime,
    FieldType.JSON: object,
}


def refusal(db: Any, statement: str, params: Any = ()) -> reddb.RedDBError:
    with pytest.raises(reddb.RedDBError) as caught:
        db.execute(statement, params)
    return caught.value


def shown(db: Any, setting: str) -> tuple[Any, ...]:
    """Value, default and source of a setting."""
    ((name, value, default, source, meaning),) = db.execute(f"SHOW {setting}")
    assert name == setting
    assert meaning.endswith(".")
    return value, default, source


@pytest.fixture
def db(db: Any) -> Iterator[Any]:
    """Here each database is one session."""
    with db.session() as session:
        yield session


# --- variables ---------------------------------------------------------------------------------------------


def test_a_variable_is_set_shown_and_reset(db: Any) -> None:
    assert shown(db, "statement_timeout") == ("0", "0", "default")
    for text, milliseconds in [("'2s'", "2000"), ("250", "250"), ("'1.5 min'", "90000"), ("'1h'", "3600000")]:
        assert db.execute(f"SET statement_timeout = {text}").affected is None
        assert shown(db, "statement_timeout") == (milliseconds, "0", "session")
    db.execute("SET application_name TO $1", ["a test"])
    db.execute("RESET statement_timeout")
    assert shown(db, "statement_timeout") == ("0", "0", "default")
    assert shown(db, "application_name") == ("a test", "", "session")
    db.execute("RESET ALL")
    assert {row[3] for row in db.execute("SHOW SETTINGS") if row[0] in SESSION_SETTINGS} == {"default"}


@pytest.mark.parametrize(
    ("statement", "message", "place"),
    [
        ("SET statement_timeot = 1", "unknown setting 'statement_timeot'", "statement_timeot"),
        ("RESET ev", "unknown setting 'ev'", "ev"),
        ("SET ef = 0", "ef must be an integer from 1 to 100000, not 0", "0"),
        ("SET recall = 1.5", "recall must be a number above 0, at most 1, not 1.5", "1.5"),
        ("SET exact = 3", "exact must be true or false, not 3", "3"),
        ("SET statement_timeout = '2 moons'", "statement_timeout must be milliseconds", "'2 moons'"),
        ("SET statement_timeout = -1", "statement_timeout must be milliseconds", "-1"),
    ],
)
def test_what_cannot_be_set_is_refused_at_its_place(db: Any, statement: str, message: str, place: str) -> None:
    error = refusal(db, statement)
    assert error.name == "INVALID_SETTING"
    assert error.message.startswith(message)
    source, carets = error.detail["excerpt"].splitlines()[:2]
    assert source[carets.index("^") : carets.rindex("^") + 1] == place


def test_ef_and_recall_are_not_set_both(db: Any) -> None:
    db.execute("SET ef = 50")
    assert "RESET ef" in str(refusal(db, "SET recall = 0.9"))
    db.execute("RESET ef")
    db.execute("SET recall = 0.9")
    assert shown(db, "recall") == ("0.9", None, "session")


@pytest.fixture
def coded(db: Any, name: str) -> str:
    """A collection that is searched by codes where nobody asks for more."""
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 64 METRIC l2 WITH (seal_idle_s = 0)")
    db.insert(name, range(8192), np.random.default_rng(1).normal(size=(8192, 64)).astype(np.float32))
    db.execute(f"ALTER COLLECTION {name} SEAL")
    return name


def test_searches_take_what_the_session_says(db: Any, coded: str) -> None:
    def strategy(**words: Any) -> str:
        (segment,) = db.search(coded, np.ones(64), 5, with_report=True, **words).report["segments"]
        return str(segment["strategy"])

    usual = strategy()
    assert usual.startswith("codes x")
    db.execute("SET exact = true")
    assert strategy() == "exact"
    assert strategy(ef=50) == "codes x 50", "a search that says how takes nothing from the session"
    db.execute("RESET exact")
    db.execute("SET ef = 77")
    assert strategy() == "codes x 77"
    assert strategy(exact=True) == "exact"
    db.execute("RESET ALL")
    assert strategy() == usual


def test_a_statement_is_bound_with_the_sessions_defaults(db: Any, coded: str) -> None:
    statement = f"EXPLAIN (ANALYZE, FORMAT json) SELECT id FROM {coded} ORDER BY vector <-> $1 LIMIT 1"

    def is_exact(more: str = "") -> Any:
        (search,) = json.loads(db.execute(statement + more, [np.ones(64)])[0][0])["plans"]
        return search.get("exact")

    assert is_exact() is None
    db.execute("SET exact = true")
    assert is_exact() == {"value": True, "from": "session"}
    assert is_exact(" WITH (exact = false)") is None, "what the statement says comes first"
    db.execute("RESET exact")
    assert is_exact() is None, "a statement is parsed once, and bound each time"


def test_a_query_that_takes_too_long_is_stopped(db: Any, coded: str) -> None:
    """A thousand exact searches take some hundred times the time that they are given."""
    many = np.random.default_rng(3).normal(size=(1000, 64)).astype(np.float32)
    db.execute("SET statement_timeout = 1")
    with pytest.raises(reddb.RedDBError) as caught:
        db.search(coded, many, exact=True)
    assert caught.value.name == "STATEMENT_TIMEOUT"
    assert caught.value.detail["hint"] == "SET statement_timeout = 0 sets no bound"
    db.execute("SET statement_timeout = 0")
    assert len(db.search(coded, many, exact=True)) == 1000


# --- prepared statements -----------------------------------------------------------------------------------


def test_a_statement_is_prepared_by_name(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    db.execute(f"PREPARE put_{name} AS INSERT INTO {name} (id, vector, n) VALUES ($1, $2, $3)")
    db.execute(f"PREPARE get_{name} AS SELECT id, n FROM {name} WHERE id = :which")
    assert db.execute(f"EXECUTE put_{name}(7, [1, 2], 'x')").affected == 1
    assert db.execute(f"EXECUTE put_{name}($1, $2, $3)", [8, np.ones(2), None]).affected == 1
    assert list(db.execute(f"EXECUTE get_{name}(7)")) == [(7, "x")]
    assert list(db.execute(f"EXECUTE get_{name}(8)")) == [(8, None)]
    assert refusal(db, f"PREPARE get_{name} AS SELECT id FROM {name} LIMIT 1").name == "INVALID_VALUE"
    assert refusal(db, f"EXECUTE get_{name}").name == "INVALID_PARAMETER"
    db.execute(f"DEALLOCATE get_{name}")
    assert refusal(db, f"EXECUTE get_{name}(7)").name == "UNKNOWN_STATEMENT"
    assert refusal(db, f"DEALLOCATE get_{name}").name == "UNKNOWN_STATEMENT"
    db.execute("DEALLOCATE ALL")
    assert refusal(db, f"EXECUTE put_{name}(1, [1, 2], 'x')").name == "UNKNOWN_STATEMENT"


def test_a_change_of_rows_is_prepared(db: Any, name: str) -> None:
    """It is bound again where the rows are: the owner must get the statement, not the command."""
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2 WITH (partitions = 2)")
    db.insert(name, range(10), np.ones((10, 2)), [{"n": number} for number in range(10)])
    db.execute(f"PREPARE p_{name} AS DELETE FROM {name} WHERE n >= $1")
    assert db.execute(f"EXECUTE p_{name}(6)").affected == 4
    drop = db.prepare(f"DELETE FROM {name} WHERE n >= :low AND n < :high")
    assert drop.parameters == [":low", ":high"]
    deleted = drop.execute({"low": 2, "high": 4})
    assert deleted.affected == 2
    assert sorted(db.execute(f"SELECT id FROM {name} LIMIT 10")) == [(0,), (1,), (4,), (5,)]


def test_a_prepared_statement_means_what_the_catalog_then_says(db: Any, name: str) -> None:
    count = db.prepare(f"SELECT count(*) FROM {name}")
    assert count.parameters == []
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    assert list(count.execute()) == [(0,)]
    db.insert(name, [1], [[1, 2]])
    assert list(count.execute()) == [(1,)]


def test_a_wrong_statement_is_refused_when_it_is_prepared(db: Any) -> None:
    with pytest.raises(reddb.RedDBError) as caught:
        db.prepare("SELECT FROM WHERE")
    assert caught.value.name == "SYNTAX"
    for statement in ("SET ef = 3", "BEGIN", "COMMIT", "ROLLBACK"):
        with pytest.raises(reddb.RedDBError) as caught:
            db.prepare(statement)
        assert caught.value.name == "NOT_SUPPORTED"


def test_more_statements_than_a_connection_keeps(db: Any) -> None:
    """The one that was used longest ago goes, and is prepared again by itself."""
    first = db.prepare("SELECT id FROM nowhere WHERE id = $1")
    for number in range(limits.PREPARED_MAX + 1):
        db.prepare(f"SELECT id FROM nowhere WHERE id = {number}")
    with pytest.raises(reddb.RedDBError) as caught:
        first.execute([1])
    assert caught.value.name == "UNKNOWN_COLLECTION"


def test_prepared_texts_are_bounded(db: Any) -> None:
    """By number the oldest goes; by name the new one is refused, and what was there stays."""
    long = "SELECT id FROM nowhere WHERE title = '" + "x" * (limits.STATEMENT_BYTES_MAX - 1_000) + "'"
    fits = limits.PREPARED_CHARS_MAX // len(long)
    for number in range(fits + 1):
        db.prepare(long.replace("id", f"id, n{number}"))
    for number in range(fits):
        db.execute(f"PREPARE long_{number} AS {long}")
    error = refusal(db, f"PREPARE one_too_many AS {long}")
    assert error.name == "LIMIT_EXCEEDED"
    assert refusal(db, "EXECUTE long_1").name == "UNKNOWN_COLLECTION"
    assert refusal(db, "EXECUTE one_too_many").name == "UNKNOWN_STATEMENT"
    db.execute("DEALLOCATE long_0")
    db.execute(f"PREPARE one_too_many AS {long}")


# --- views -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [view for view in VIEWS.values() if view.name != "collection"], ids=lambda v: v.name)
def test_a_views_columns_are_those_of_the_table(db: Any, name: str, view: Any) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 2 FIELDS (n INT)")
    db.execute(f"CREATE INDEX ON {name} (n)")
    db.insert(name, [1], [[1, 2]])
    result = db.execute(f"SHOW {view.name.upper()}")
    assert result.columns == [column.name for column in view.columns]
    for row in result:
        for value, column in zip(row, view.columns, strict=True):
            assert value is None or isinstance(value, TYPES[column.type]), (column, value)
    if view.name not in ("aliases", "queries"):
        assert len(result) > 0


@pytest.mark.parametrize("view", [view for view in VIEWS.values() if view.made_by is Maker.COLLECTION])
def test_a_view_for_one_collection_is_its_part_of_the_whole(db: Any, name: str, view: Any) -> None:
    if view.name == "collection":
        return
    for number in range(2):
        db.execute(f"CREATE COLLECTION {name}_{number} KIND vector DIM 2 FIELDS (n INT)")
        db.execute(f"CREATE INDEX ON {name}_{number} (n)")
        db.insert(f"{name}_{number}", range(number + 1), np.ones((number + 1, 2)))
    whole = db.execute(f"SHOW {view.name.upper()}")
    for number in range(2):
        part = db.execute(f"SHOW {view.name.upper()} FOR {name}_{number}")
        assert part.columns == whole.columns[1:]
        assert len(part) > 0
        assert [row[1:] for row in whole if row[0] == f"{name}_{number}"] == list(part)


def test_show_errors_is_the_catalogue(db: Any) -> None:
    told = {row[1]: (row[0], row[2], row[3], row[4]) for row in db.execute("SHOW ERRORS")}
    assert told == {
        name: (code.number, str(code.kind), code.retryable, code.meaning) for name, code in errors.CATALOGUE.items()
    }


def test_settings_of_a_collection_and_limits(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 8 METRIC l2 WITH (oversample = 9)")
    prefix = f"red.collection.{name}"
    settings = {row[0]: row[1:4] for row in db.execute(f"SHOW SETTINGS LIKE '{prefix}.%'")}
    assert set(settings) == {
        f"{prefix}.{setting}" for setting in (*SETTINGS, "kind", "dim", "metric", "vector.turbo.ready")
    }
    assert settings[f"{prefix}.oversample"] == ("9", "4", "collection")
    assert settings[f"{prefix}.bits"] == ("4", "4", "default")
    assert shown(db, f"{prefix}.kind")[0] == "vector.turbo"
    assert shown(db, f"{prefix}.dim")[0] == "8"
    assert shown(db, "limits.k_max") == (str(limits.K_MAX), str(limits.K_MAX), "default")
    assert shown(db, "data")[2] == "server"
    error = refusal(db, f"SHOW {prefix}.kin")
    assert (error.name, error.detail["hint"]) == ("INVALID_SETTING", f"did you mean {prefix}.kind?")


def test_turbo_is_ready_when_every_row_has_its_code(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector.turbo DIM 64 METRIC l2 WITH (seal_idle_s = 0)")
    ready = f"red.collection.{name}.vector.turbo.ready"
    assert shown(db, ready)[0] == "true", "there is nothing to encode"
    db.insert(name, range(4096), np.random.default_rng(2).random((4096, 64), np.float32))
    db.execute(f"ALTER COLLECTION {name} SEAL")
    assert shown(db, ready)[0] == "true"


def test_names_of_views_are_taken(db: Any) -> None:
    error = refusal(db, 'CREATE COLLECTION "red.sessions" KIND vector DIM 2')
    assert error.name == "INVALID_NAME"
    assert "red." in error.message


def test_show_sessions_has_this_one(db: Any, name: str) -> None:
    db.execute("SET application_name = $1", [name])
    (mine,) = [row for row in db.execute("SHOW SESSIONS") if row[3] == name]
    _, _, client, _, since, state, queries = mine
    assert client
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=5)
    assert (state, queries) == ("active", 1)


# --- metrics and KILL --------------------------------------------------------------------------------------


def test_metrics_count_what_was_done(db: Any, name: str) -> None:
    def metrics() -> dict[tuple[str, str], float]:
        sums: dict[tuple[str, str], float] = {}
        for _, metric, labels, _, value, _ in db.execute("SHOW METRICS"):
            sums[metric, labels] = sums.get((metric, labels), 0) + value
        return sums

    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    before = metrics()
    db.insert(name, [1, 2, 3], np.ones((3, 2)))
    db.upsert(name, [3], np.ones((1, 2)))
    db.delete(name, [1, 99])
    for _ in range(5):
        db.search(name, [1, 1])
    db.search(name, np.ones((4, 2)))
    db.execute(f"SELECT id FROM {name} ORDER BY vector <=> $1 LIMIT 1", [np.ones(2)])
    for _ in range(2):
        assert refusal(db, "SELECT id FROM nowhere_at_all LIMIT 1").name == "UNKNOWN_COLLECTION"
    after = metrics()

    def grew(metric: str, labels: str = "") -> float:
        return after.get((metric, labels), 0) - before.get((metric, labels), 0)

    assert grew("reddb_requests_total", 'kind="insert"') == 1
    assert grew("reddb_requests_total", 'kind="upsert"') == 1
    assert grew("reddb_requests_total", 'kind="delete"') == 1
    assert grew("reddb_requests_total", 'kind="search"') == 6
    assert grew("reddb_requests_total", 'kind="query"') == 4, "SHOW METRICS itself, the search and the two that fail"
    assert grew("reddb_errors_total", 'error="UNKNOWN_COLLECTION"') == 2
    assert grew("reddb_rows_written_total") == 3 + 1 + 1
    assert grew("reddb_searches_total") == 5 + 4 + 1
    assert grew("reddb_search_seconds_count") == 7
    assert grew("reddb_search_seconds_bucket", 'le="+Inf"') == 7
    assert grew("reddb_search_seconds_sum") > 0
    assert grew("reddb_rows") == 2


def test_kill_of_what_does_not_run(db: Any) -> None:
    for number in (0, 63, 64, 10**15):
        error = refusal(db, f"KILL {number}")
        assert (error.name, error.detail["hint"]) == ("INVALID_VALUE", "SHOW QUERIES")
    assert refusal(db, "KILL $1", ["x"]).name == "INVALID_VALUE"


def test_every_metric_of_the_table_is_told(db: Any) -> None:
    refusal(db, "SELECT nothing FROM nowhere")
    told = {row[1] for row in db.execute("SHOW METRICS")}
    for metric in METRICS.values():
        names = {metric.name} if metric.type != "histogram" else {f"{metric.name}_{end}" for end in ("bucket", "sum")}
        if metric.name not in ("reddb_queries", "reddb_core_up", "reddb_task_failures_total"):  # no task has failed
            assert names <= told, metric


# --- SELECT from views -------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [view for view in VIEWS.values() if not view.is_shown_only], ids=lambda v: v.name)
def test_select_gives_what_show_gives(db: Any, name: str, view: Any) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 2")
    by_select = db.execute(f"SELECT * FROM red.{view.name}")
    assert by_select.columns == view.column_names
    if view.name not in ("sessions", "queries", "metrics", "memory"):  # which change while one asks
        shown = db.execute(f"SHOW {view.name.upper()}")
        is_own = view.name in ("segments", "stats")  # those of others change a minute after their last write
        of_select, of_show = ([row for row in rows if not is_own or row[0] == name] for rows in (by_select, shown))
        assert of_select == of_show


def test_select_from_views_filters_orders_and_counts(db: Any, name: str) -> None:
    db.execute(f"CREATE COLLECTION {name} KIND vector DIM 5")
    assert list(db.execute(f"SELECT dim FROM red.collections WHERE name = '{name}'")) == [(5,)]
    ordered = [row[0] for row in db.execute("SELECT number FROM red.errors ORDER BY number DESC LIMIT 3")]
    assert ordered == sorted((code.number for code in errors.CATALOGUE.values()), reverse=True)[:3]
    assert list(db.execute("SELECT count(*) FROM red.errors WHERE retryable")) == [
        (sum(code.retryable for code in errors.CATALOGUE.values()),)
    ]
    db.execute("SET ef = 31")
    assert list(db.execute("SELECT value, source FROM red.settings WHERE name = 'ef'")) == [("31", "session")]
    error = refusal(db, "SELECT * FROM red.sesions LIMIT 1")
    assert (error.name, error.detail["hint"]) == ("UNKNOWN_COLLECTION", "did you mean sessions?")
    assert refusal(db, "SELECT * FROM red.collection LIMIT 1").name == "UNKNOWN_COLLECTION"


def test_a_session_finds_itself_by_select(db: Any, name: str) -> None:
    db.execute("SET application_name = $1", [name])
    ((state, since),) = db.execute("SELECT state, since FROM red.sessions WHERE application_name = $1", [name])
    assert state == "active"
    assert since.tzinfo is not None
