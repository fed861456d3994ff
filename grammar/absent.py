"""What other systems have and this one has not: each construct by the word or sign that betrays it, and the way out.

Invariant: every advice names what is not there, or says what stands in its place; nothing here is parsed.
"""

from __future__ import annotations

from reddb.grammar.ast import DISTANCES

EMPTY_IN = "IN takes one value or more: IN (1, 2), or IN ($1) with a list, which may be empty"
ROWS_IN = "rows are compared one by one: (a, b) = (1, 2) OR (a, b) = (3, 4)"
KEY = "there is no operator ?: meta.year IS NOT NULL asks whether a key is there"
DISTANCE = "the distance operators are " + ", ".join(f"{sign} ({name})" for sign, name in DISTANCES.items())
OVERLAP = "&& looks for a common item: tags && ['a', 'b']; conditions are joined with AND"

_ONE_COLLECTION = "a SELECT reads one collection: there are no joins; another name for it follows AS"
_ONE_WRITTEN = "a statement writes one collection, and reads no other: there are no joins"
_UNION = "a statement is one SELECT: there are no unions of several"
_PATTERN = "there are no regular expressions: title LIKE 'a%', or ILIKE whatever the case"
_PART = "a part of a column is reached with a dot: meta.year"
_INSTANT = "there are no literals of dates: a text with a zone is read as an instant, '2024-05-01T12:00:00Z'::timestamp"
_BITS = "there are no operations on bits"
_POWER = "there is no power: year * year"
_CASE = "there is no CASE: coalesce, nullif, greatest and least choose between values"
EXTRACT = "arguments stand behind commas; there is no EXTRACT: compare, at >= '2024-01-01T00:00:00Z' AND at < …"
ITEM = "there are no items of arrays by number: 'x' IN tags asks for one, meta.year is a part of a map"
_CONSTRAINT = "a field has NOT NULL and DEFAULT only; a row is told from others by its id"
INDEX_KIND = "CREATE INDEX is for one field of the payload, ON docs (year); that of the vectors comes by itself"
DEFAULT = "the default of a field is one value, not an expression: DEFAULT 7"
_WINDOW = "there are no window functions"
_FILTER = "an aggregate takes all rows of its group: there is no FILTER, put the condition into WHERE"
_SAVEPOINT = "there are no savepoints: ROLLBACK forgets the whole transaction"
_ANY = "an item is asked for with IN: 'x' IN tags, id IN ($1)"
_RANDOM = "there is no random value: give one as a parameter"
_STATISTICS = "the aggregates are count, sum, min, max and avg"
_STRINGS = "there is no such function of texts: lower, upper, length and concat are there, and LIKE 'a%'"
_MATHS = "there is no such function of numbers: abs, round, floor and ceil are there, and + - * / %"
_DATES = "there are no parts of instants: compare them, at >= '2024-01-01T00:00:00Z', and add INTERVAL '2 h'"
_ARRAYS = "arrays have cardinality(tags), 'x' IN tags and tags && ['a', 'b']"
_VECTORS = "vectors have distances, vector_dims and vector_norm; they are changed before they are stored"
_IDS = "ids are given, not made: an integer or a string for each row"
_RIGHTS = "there are no users and no rights"
_LETTERS = "a string stands in quotes without a letter before them, and a backslash in it is a backslash"
_COPY = "rows come from files and go to files in reddb shell, with \\copy"

# By the operator that is none.
OPERATORS = {
    "==": "did you mean =?",
    "=>": "did you mean >=?",
    "=<": "did you mean <=?",
    "&&&": "did you mean &&?",
    **dict.fromkeys(("!", "=!"), "did you mean NOT, or <>?"),
    "||": "there is no ||: concat(a, b) joins texts, and OR joins conditions",
    "&": f"{_BITS}; {OVERLAP}",
    **dict.fromkeys(("|", "<<", ">>"), f"{_BITS}; conditions are joined with OR"),
    **dict.fromkeys(("^", "**"), _POWER),
    **dict.fromkeys(("~", "~*", "!~", "!~*", "~~", "!~~"), _PATTERN),
    **dict.fromkeys(("+=", "-=", "*=", "/="), "an assignment is written year = year + 1"),
    **dict.fromkeys(("->", "->>", "#>", "#>>"), _PART),
    "@>": "there is no @>: 'x' IN tags asks for one item, tags && ['a', 'b'] for any of several",
    "<@": "there is no <@: 'x' IN tags asks for one item, tags && ['a', 'b'] for any of several",
    "?|": "there is no ?|: meta.year IS NOT NULL asks whether a key is there",
    "?&": "there is no ?&: meta.year IS NOT NULL asks whether a key is there",
}
# By the word right before the place, where what follows it cannot stand.
BEFORE = {
    "CASE": _CASE,
    **dict.fromkeys(("DATE", "TIME", "TIMESTAMPTZ"), _INSTANT),
    "SYMMETRIC": "BETWEEN takes the smaller value first: BETWEEN 1 AND 2",
    "DOUBLE": "the type is called FLOAT",
    "CONCURRENTLY": INDEX_KIND,
    "ONLY": _ONE_COLLECTION,
    "LOCAL": "a variable is set for the whole session: SET ef = 5",
    "SESSION": "a variable is set for the whole session: SET ef = 5",
    "RECURSIVE": "there are no common table expressions",
}
# By that word and the one found.
PAIRS = {
    **dict.fromkeys((("IS", "DISTINCT"), ("NOT", "DISTINCT")), "there is no IS DISTINCT FROM: a = b, or a IS NULL"),
    ("ROLLBACK", "TO"): _SAVEPOINT,
    ("LIMIT", "ALL"): "without LIMIT a SELECT gives all rows",
    ("INSERT", "OR"): "did you mean UPSERT? It replaces a row whose id exists",
    ("INTO", "DEFAULT"): _IDS,
    ("DISTINCT", "ON"): "there is no DISTINCT ON: GROUP BY year … LIMIT 5 PER GROUP 1 is for the nearest rows",
    ("SELECT", "ALL"): "a SELECT gives all rows unless it says DISTINCT",
    ("TIMESTAMP", "STRING"): _INSTANT,
    ("=", "ALL"): _ANY,
    **dict.fromkeys((("E", "STRING"), ("N", "STRING"), ("B", "STRING"), ("X", "STRING")), _LETTERS),
}
# By the word found, within a SELECT, a DELETE or an UPDATE.
WITHIN = {
    "_SELECT": {
        "FOR": "reads lock nothing: there is no FOR UPDATE",
        "AT": "instants are in UTC: there is no AT TIME ZONE",
        "USING": "an order is ascending, ASC, or descending, DESC",
    },
    "_INSERT": {"DEFAULT": _IDS},
    "_DELETE": {"USING": _ONE_WRITTEN},
    "_UPDATE": {"FROM": _ONE_WRITTEN, "(": "columns are set one by one: SET year = 2001, title = 'two'"},
    "_ALTER": {"ALTER": "a field keeps its type: ADD FIELD another one, and UPDATE it from the first"},
}
# By the word found.
WORDS = {
    **dict.fromkeys(("JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "FULL", "NATURAL"), _ONE_COLLECTION),
    **dict.fromkeys(("UNION", "INTERSECT", "MINUS"), _UNION),
    "EXCEPT": f"{_UNION}; nor is there * EXCEPT: name the columns",
    "DUPLICATE": "a row whose id exists is updated with ON CONFLICT (id) DO UPDATE SET year = excluded.year",
    "IGNORE": "rows whose ids exist are left alone with ON CONFLICT (id) DO NOTHING",
    "COLUMN": "the columns of a collection are its fields: ADD FIELD, DROP FIELD",
    "FETCH": "the number of rows is limited with LIMIT 5",
    "WHEN": _CASE,
    **dict.fromkeys(("OVER", "WINDOW"), _WINDOW),
    "FILTER": _FILTER,
    "WITHIN": f"there are no ordered aggregates: {_STATISTICS}",
    **dict.fromkeys(("SIMILAR", "REGEXP", "RLIKE", "GLOB"), _PATTERN),
    "ESCAPE": "there is no ESCAPE: in LIKE a backslash makes % and _ stand for themselves",
    "ISNULL": "NULL is asked for with IS NULL",
    "NOTNULL": "NULL is asked for with IS NOT NULL",
    "COLLATE": "texts are ordered by their code points; there are no collations",
    "TABLESAMPLE": "there are no samples: LIMIT 5 gives some rows",
    "INTO": "a SELECT gives rows, and INSERT takes them from VALUES only",
    **dict.fromkeys(("PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "CONSTRAINT", "FOREIGN", "GENERATED"), _CONSTRAINT),
    "PRECISION": "the type is called FLOAT",
    "DIV": "integers are divided by /, and stay integers",
    "MOD": "the rest of a division is year % 2",
    "XOR": "there is no XOR: a <> b of two booleans",
    "RENAME": "there is no RENAME: CREATE ALIAS notes FOR docs gives a collection another name",
    "TYPE": "a field keeps its type: ADD FIELD another one, and UPDATE it from the first",
    "ISOLATION": "a transaction has one isolation: it is stored as a whole, and reads see what is committed",
    "LATERAL": _ONE_COLLECTION,
    "ZONE": "instants are in UTC: there is no AT TIME ZONE",
}
# By the word with which a statement should begin, or that follows CREATE, ALTER or DROP.
STATEMENTS = {
    **dict.fromkeys(("SAVEPOINT", "RELEASE"), _SAVEPOINT),
    "VALUES": "rows that are not stored are of a SELECT without FROM: SELECT 1, 2",
    "COPY": _COPY,
    **dict.fromkeys(("USE", "CONNECT", "ATTACH"), "a server has one database: its collections are there at once"),
    **dict.fromkeys(("GRANT", "REVOKE", "USER", "ROLE"), _RIGHTS),
    "LOCK": "there are no locks: BEGIN … COMMIT is stored as a whole",
    "ANALYZE": "there is nothing to gather: indexes measure themselves; EXPLAIN ANALYZE runs a statement",
    **dict.fromkeys(("REINDEX", "CLUSTER", "OPTIMIZE"), "ALTER COLLECTION docs COMPACT, or REBUILD, does it anew"),
    **dict.fromkeys(("DECLARE", "CLOSE", "OPEN"), "there are no cursors: pages go on behind a key, WHERE id > $1"),
    "FETCH": "there are no cursors: pages go on behind a key, WHERE id > $1",
    **dict.fromkeys(("LISTEN", "NOTIFY", "UNLISTEN"), "there are no notifications"),
    "COMMENT": "there are no comments on things; -- begins one in a statement",
    **dict.fromkeys(("VIEW", "MATERIALIZED"), "there are no views of your own: PREPARE keeps a statement"),
    "SEQUENCE": _IDS,
    **dict.fromkeys(("FUNCTION", "PROCEDURE", "TRIGGER", "CALL"), "there are no functions of your own"),
    "EXTENSION": "there are no extensions: vectors are there at once",
    "TYPE": "there are no types of your own: TEXT, INT, FLOAT, BOOL, TIMESTAMP, TEXT[], INT[], JSON",
    "UNIQUE": f"there are no unique indexes, for {_IDS}",
}
# By the name of a function that is none.
FUNCTIONS = {
    **dict.fromkeys(
        ("trim", "ltrim", "rtrim", "btrim", "substr", "substring", "replace", "left", "right", "position", "strpos")
        + ("instr", "split_part", "starts_with", "regexp_matches", "regexp_replace", "regexp_like", "match", "reverse")
        + ("repeat", "lpad", "rpad", "initcap", "translate", "chr", "ascii", "format", "concat_ws", "md5", "to_char"),
        _STRINGS,
    ),
    **dict.fromkeys(
        ("sqrt", "power", "pow", "exp", "ln", "log", "log10", "sign", "trunc", "pi", "sin", "cos", "tan", "degrees"),
        _MATHS,
    ),
    "mod": "the rest of a division is year % 2",
    **dict.fromkeys(("random", "rand"), _RANDOM),
    **dict.fromkeys(("extract", "date_trunc", "date_part", "age", "to_timestamp", "to_date", "year", "date"), _DATES),
    **dict.fromkeys(("stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp", "median"), _STATISTICS),
    **dict.fromkeys(
        ("percentile_cont", "percentile_disc", "mode", "corr", "bool_or", "bool_and", "every"), _STATISTICS
    ),
    **dict.fromkeys(("string_agg", "array_agg", "group_concat", "json_agg", "jsonb_agg"), _STATISTICS),
    **dict.fromkeys(("array_length", "array_append", "array_remove", "array_position", "unnest"), _ARRAYS),
    **dict.fromkeys(("array_contains", "array_cat", "array_to_string", "string_to_array"), _ARRAYS),
    **dict.fromkeys(("any", "some", "all"), _ANY),
    **dict.fromkeys(("l2_normalize", "subvector", "binary_quantize", "hamming_distance", "jaccard_distance"), _VECTORS),
    **dict.fromkeys(("gen_random_uuid", "uuid", "nextval", "currval", "lastval", "last_insert_id"), _IDS),
    **dict.fromkeys(("if", "iif", "decode"), _CASE),
    **dict.fromkeys(("ifnull", "nvl", "isnull"), "did you mean coalesce?"),
    **dict.fromkeys(("len", "octet_length"), "did you mean length?"),
    "ucase": "did you mean upper?",
    "lcase": "did you mean lower?",
    "cosine_similarity": "did you mean similarity, or 1 - cosine_distance(vector, $1)?",
    **dict.fromkeys(("rollup", "cube", "grouping"), "GROUP BY makes one grouping: ask once for each"),
    **dict.fromkeys(("row_number", "rank", "dense_rank", "lag", "lead", "ntile"), _WINDOW),
    **dict.fromkeys(("json_extract", "jsonb_path_query", "json_value"), _PART),
    **dict.fromkeys(("version", "pg_sleep", "current_database", "current_user"), "SHOW tells what the database says"),
}
# What another system calls a type of ours; parameters of it, as of VARCHAR(20), are none.
TYPES = {
    **dict.fromkeys(("INTEGER", "BIGINT", "SMALLINT", "TINYINT", "INT2", "INT4", "INT8", "SERIAL", "BIGSERIAL"), "INT"),
    **dict.fromkeys(("VARCHAR", "CHAR", "CHARACTER", "STRING", "CLOB", "UUID", "BPCHAR", "NAME"), "TEXT"),
    **dict.fromkeys(("REAL", "DOUBLE", "NUMERIC", "DECIMAL", "FLOAT4", "FLOAT8", "NUMBER"), "FLOAT"),
    **dict.fromkeys(("BOOLEAN", "BIT"), "BOOL"),
    **dict.fromkeys(("TIMESTAMPTZ", "DATETIME", "DATE", "TIME"), "TIMESTAMP"),
    **dict.fromkeys(("JSONB", "OBJECT", "MAP", "HSTORE"), "JSON"),
}


def type_hint(name: str) -> str | None:
    """What to write in place of a type of another system."""
    return f"the type is called {TYPES[name]}" if name in TYPES else None


def length_hint(name: str) -> str:
    """What to write in place of a type with a length: VARCHAR(20)."""
    return f"{type_hint(name) or 'a type is a word'}, without a length behind it"
