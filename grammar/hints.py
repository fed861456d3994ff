"""What may help after a syntax error: the nearest valid word, or advice for a slip that is common.

A hint knows the token that was found, the terminals that could stand in its place, and the parser's stack: what came
before and is not yet part of a whole. The first rule that knows the case speaks.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lark import Token, Tree

from reddb.grammar import absent
from reddb.grammar.language import keywords, reserved_words, statement_words

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

CONDITION = "a condition stands alone here, as behind WHERE: year > 2000 AND title IS NOT NULL"
FINITE = "a vector holds finite numbers only"
NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity)\b", re.IGNORECASE)

_SIMILAR_TO_A_KEYWORD = {False: 0.65, True: 0.75}  # by whether the word is a keyword itself, hence no misspelling
_NEAR_CHARS_MIN = 3
_WORD_CHARS_MAX = 40  # difflib takes a second for a word of a megabyte

_QUOTES = "a string stands in single quotes; double quotes are for names"
_LIST = "a vector holds numbers only; the strings of a list stand in single quotes"
_TYPE = "a field has a name and a type: title TEXT"
_ONE_COLLECTION = absent.WORDS["JOIN"]
_SUBQUERY = "there are no subqueries: run the inner SELECT first and pass on what it finds"
_TRUTH = "a boolean is a condition by itself: WHERE ok, or WHERE NOT ok; IS asks for NULL only"
_BEFORE_ROWS = "name the columns before the rows: INSERT INTO docs (id, vector) VALUES (1, [0.1, 0.2])"
_EXPLAIN = "the options of EXPLAIN stand in parentheses: EXPLAIN (ANALYZE, FORMAT json) SELECT …"
_OPTIONS = "settings stand in parentheses: WITH (ef = 64)"
_CREATE_VECTOR = "CREATE VECTOR takes DIM and METRIC; CREATE COLLECTION takes a kind, fields and settings, too"
_DESCRIBED = "dimension, metric and kind stand in the parentheses, settings behind WITH"
_FIELDS = "the fields stand behind DIM: CREATE COLLECTION docs KIND vector.turbo DIM 384 FIELDS (title TEXT)"
_INDEX = "the index of the vectors comes and goes with its collection; its kind is said there: KIND vector.turbo"
_TARGET = "a text is searched for by its vector: [0.1, 0.2], or a parameter that holds it"
_SEARCH = "SEARCH SIMILAR $1 COLLECTION docs LIMIT 10, or SEARCH docs USING VECTOR ($1, 10)"
_ALIAS = "the name of a column stands behind AS: id AS number"
_CAST = "a cast is written CAST(year AS TEXT), or year::TEXT"

# By the token right before the place.
_AFTER = {
    "SEMICOLON": "send one statement at a time",
    "_IN": "IN takes parentheses: IN (1, 2, 3)",
    "_INDEX": "an index is found by its collection and field: INDEX ON docs (year)",
    "_INTERVAL": "a length of time is a string: INTERVAL '2 h'",
    "OVERLAP": absent.OVERLAP,
}
# By the word found, where no other keyword is near.
_WORDS = {**absent.WORDS, "FORMAT": _EXPLAIN, "RECALL": _EXPLAIN}
# What another system calls a statement of ours.
_STATEMENTS = {
    **dict.fromkeys(("START",), "BEGIN"),
    **dict.fromkeys(("END",), "COMMIT"),
    **dict.fromkeys(("ABORT",), "ROLLBACK"),
    **dict.fromkeys(("REPLACE", "MERGE", "PUT"), "UPSERT"),
    **dict.fromkeys(("DESC",), "DESCRIBE"),
    **dict.fromkeys(("FIND", "GET"), "SELECT"),
}
# What belongs where this keyword is missing.
_MISSING = {
    "_KIND": "say what kind of collection it is, then its dimension: KIND vector.turbo DIM 384",
    "_SET": "the new values come after SET: UPDATE docs SET year = 2001 WHERE id = 7",
    "_DIM": "every collection has a fixed number of dimensions: DIM 384",
    "_VALUES": "the rows come after the columns: VALUES (1, [0.1, 0.2])",
    "_USING": _SEARCH,
}
_CLAUSES = {
    "_SELECT": ("FROM", "WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT", "OFFSET", "WITH"),
    "_INSERT": ("VALUES", "WITH TTL", "ON CONFLICT", "RETURNING"),
    "_UPSERT": ("VALUES", "WITH TTL", "RETURNING"),
    "_UPDATE": ("SET", "WHERE", "RETURNING"),
    "_DELETE": ("FROM", "WHERE", "RETURNING"),
    "_CREATE": ("KIND", "DIM", "METRIC", "FIELDS", "WITH"),
}
_CLAUSE_WORDS = frozenset(clause.split()[0] for clauses in _CLAUSES.values() for clause in clauses)
_TABLES = frozenset({"TABLE", "DATABASE", "SCHEMA"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement, or a condition that stands alone, went wrong."""

    found: Token
    accepts: Set[str]
    stack: Sequence[object]
    is_condition: bool

    @property
    def is_over(self) -> bool:
        """Whether a condition was whole before this place."""
        return self.is_condition and self.accepts == {"$END"}

    @property
    def word(self) -> str:
        return self.found.upper()

    @property
    def before(self) -> str:
        """The type of the token right before; empty where a whole part of the statement ends."""
        last = self.stack[-1] if self.stack else None
        return last.type if isinstance(last, Token) else ""

    @property
    def last_word(self) -> str:
        """The token right before, in upper case, even if it is part of a whole already."""
        last = self.stack[-1] if self.stack else ""
        while isinstance(last, Tree) and last.children:
            last = last.children[-1]
        return str(last).upper() if isinstance(last, Token) else ""

    @property
    def open(self) -> list[str]:
        """The types of all tokens that are not yet part of a whole."""
        return [part.type for part in self.stack if isinstance(part, Token)]

    @property
    def is_word(self) -> bool:
        return self.found.type == "NAME" or self.word in keywords()

    def nearest(self) -> str | None:
        """The keyword that was probably meant."""
        if not self.is_word or len(self.word) > _WORD_CHARS_MAX:
            return None
        possible = sorted(terminal[1:] for terminal in self.accepts if terminal.startswith("_"))
        if len(self.word) < _NEAR_CHARS_MIN:  # everything of two letters is near to IN or IS
            return None
        similar = difflib.get_close_matches(self.word, possible, 1, _SIMILAR_TO_A_KEYWORD[self.word in keywords()])
        longer = [word for word in possible if len(word) > 2 and self.word.startswith(word)]  # DESCENDING
        return next(iter(similar + longer), None)

    def open_bracket(self) -> Token | None:
        """The innermost bracket that is not closed."""
        opened: list[Token] = []
        for part in self.stack:
            if isinstance(part, Token) and part.type in {"LPAR", "LSQB"}:
                opened.append(part)
            elif isinstance(part, Token) and part.type in {"RPAR", "RSQB"}:
                opened.pop()
        return opened[-1] if opened else None


def hint(place: Place) -> str | None:
    """Advice for this place, if there is any."""
    return next((advice for rule in _RULES if (advice := rule(place)) is not None), None)


def _condition(place: Place) -> str | None:
    """What stands beside a condition that should stand alone."""
    is_statement = not place.stack and (place.found.type == "_WHERE" or place.found.type in statement_words())
    return CONDITION if place.is_condition and (place.is_over or is_statement) else None


def _statement(place: Place) -> str | None:
    """Where a statement should begin."""
    if "_SELECT" not in place.accepts:
        return None
    if place.found.type == "_WITH":
        return "there are no common table expressions"
    if place.word in absent.STATEMENTS:
        return absent.STATEMENTS[place.word]
    if place.word in _WORDS:  # the options of an EXPLAIN
        return _WORDS[place.word]
    if nearest := _STATEMENTS.get(place.word) or place.nearest():
        return f"did you mean {nearest}?"
    *most, last = sorted(terminal[1:] for terminal in place.accepts & statement_words())
    return f"a statement begins here with {', '.join(most)} or {last}"


def _table(place: Place) -> str | None:
    """What others call a collection, and the index that it has anyway."""
    last, verb = place.last_word, str(place.stack[0]).upper() if place.stack else ""
    if (place.word in _TABLES and "_COLLECTION" in place.accepts) or (last in _TABLES and len(place.stack) == 2):
        rest = " KIND vector.turbo DIM 384" if verb == "CREATE" else ""
        return f"rows live in collections: {verb} COLLECTION docs{rest}"
    if last == "INDEX" and place.open[:2] in (["_CREATE", "_VECTOR"], ["_DROP", "_VECTOR"]):
        return _INDEX
    return None


def _absent(place: Place) -> str | None:
    """What only other systems have."""
    last, opened = place.last_word, place.open
    if last in absent.BEFORE:
        return absent.BEFORE[last]
    pair = absent.PAIRS.get((last, "STRING" if place.found.type == "STRING" else place.word))
    within = absent.WITHIN.get(opened[0] if opened else "", {}).get(place.word)
    if pair or within:
        return pair or within
    if opened in (["_CREATE"], ["_ALTER"], ["_DROP"]) and place.word in absent.STATEMENTS:
        return absent.STATEMENTS[place.word]
    if opened[:2] == ["_CREATE", "_INDEX"] and place.found.type not in {"$END", "SEMICOLON"}:
        return absent.INDEX_KIND
    if opened[-1:] == ["_DEFAULT"]:
        return absent.DEFAULT
    if place.found.type == "LPAR" and "LSQB" in place.accepts:  # which follows only a type
        return absent.length_hint(last)
    if "LPAR" in opened and place.found.type == "_FROM" and "COMMA" in place.accepts:
        return absent.EXTRACT
    if opened[-2:] == ["_IN", "LPAR"] and place.found.type == "RPAR":
        return absent.EMPTY_IN
    if place.found.type in {"_IN", "IN_WRITTEN"} and "COMPARISON" in place.accepts and "_IN" not in place.accepts:
        return absent.ROWS_IN
    if place.found.type == "POSITIONAL" and "COMPARISON" in place.accepts:
        return absent.KEY
    if place.found.type in {"LSQB", "VECTOR_LITERAL"} and ("_AS" in place.accepts or "EQUAL" in place.accepts):
        return absent.ITEM
    return None


def _select(place: Place) -> str | None:
    """What a SELECT of other systems has, or writes in another way."""
    found, opened = place.found.type, place.open
    if (found == "_SELECT" and place.open_bracket()) or (found == "LPAR" and place.before == "_FROM"):
        return _SUBQUERY
    if "_SELECT" not in opened:
        return None
    if place.before == "_SELECT" and found == "_FROM":
        return "say what to select: SELECT * FROM docs"
    if place.last_word == "TOP":
        return "the number of rows comes last: SELECT … LIMIT 5"
    if found in {"COMMA", "_AS", "NAME"} and {"_WHERE", "_LIMIT"} <= place.accepts and "_FROM" in opened:
        is_slip = found == "NAME" and (place.nearest() or place.word in _WORDS)
        return None if is_slip else _ONE_COLLECTION
    if found == "COMMA" and "_LIMIT" in opened[-2:]:
        return "how many rows to skip comes last: LIMIT 10 OFFSET 5"
    return None


def _write(place: Place) -> str | None:
    """What an INSERT or UPDATE of other systems has, or writes in another way."""
    found, opened = place.found.type, place.open
    if found == "_SELECT" and ("_INSERT" in opened or "_UPSERT" in opened):
        return "the rows to insert stand in VALUES; those of a SELECT cannot be inserted"
    if found == "_ON" and "_UPSERT" in opened:
        return "UPSERT replaces the rows that exist; ON CONFLICT is for INSERT"
    if found == "_VALUES" and "LPAR" in place.accepts:
        return _BEFORE_ROWS
    if found == "DOT" and "_UPDATE" in opened and "EQUAL" in place.accepts:
        return "a column is set as a whole, not a part of it"
    return None


def _search(place: Place) -> str | None:
    """What a search cannot do."""
    found, accepts = place.found.type, place.accepts
    if found in {"STRING", "NAME"} and "VECTOR_LITERAL" in accepts and "_ID" in accepts and "_NOT" not in accepts:
        return _TARGET
    if "_USING" in accepts and place.last_word in {"TEXT", "HYBRID", "MULTIMODAL", "CONTEXT"}:
        return f"a search is for vectors: {_SEARCH}"
    if found == "_ORDER" and "_THRESHOLD" in accepts and "NAME" not in accepts:
        return "the nearest rows come first; SELECT … ORDER BY orders otherwise"
    return None


def _create(place: Place) -> str | None:
    """The clauses of CREATE, which differ between its forms."""
    last, opened = place.stack[-1] if place.stack else None, place.open
    if opened[:2] == ["_CREATE", "_VECTOR"] and place.word in {"KIND", "FIELDS", "WITH"}:
        return _CREATE_VECTOR
    if isinstance(last, Tree) and last.data == "described":
        return _DESCRIBED
    if opened[:1] == ["_CREATE"] and "EQUAL" in place.accepts and "_WITH" not in opened:
        return _FIELDS
    if place.found.type == "_EXISTS" and "_NOT" in place.accepts and opened[-1:] == ["_IF"]:
        return "did you mean IF NOT EXISTS?"
    if place.found.type == "_NOT" and "_EXISTS" in place.accepts and opened[-1:] == ["_IF"]:
        return "did you mean IF EXISTS?"
    return None


def _too_many(place: Place) -> str | None:
    """A comma or a bracket too many, or one too few."""
    is_end = place.found.type in {"RPAR", "RSQB", "$END"} or place.word in _CLAUSE_WORDS
    if place.before == "COMMA" and is_end:
        return "there is one comma too many"
    bracket = place.open_bracket()
    if bracket and place.word in _CLAUSE_WORDS and place.accepts & {"RPAR", "RSQB"}:
        return f"the {bracket} is not closed"
    return None


def _value(place: Place) -> str | None:
    """What stands where a value should."""
    found, accepts = place.found.type, place.accepts
    if "STRING" in accepts and NOT_FINITE.fullmatch(place.word):
        return FINITE
    if found in {"NAME", "QUOTED_NAME"} and "STRING" in accepts:
        return _LIST if place.open_bracket() == "[" else _QUOTES
    if "UNSIGNED" in accepts and not accepts & {"SIGNED", "FLOAT"} and found in {"SIGNED", "FLOAT", "STRING", "SIGN"}:
        return "this takes a whole number, 0 or more"
    return None


def _before(place: Place) -> str | None:
    """What the token before asks for."""
    last = place.stack[-1] if place.stack else None
    if place.before in _AFTER:
        return _AFTER[place.before]
    if isinstance(last, Tree) and last.data == "name" and "NAME" in place.accepts:  # only a type follows a name so
        return _TYPE
    if place.found.type == "OVERLAP" and "_AND" in place.accepts:
        return absent.OVERLAP
    if place.found.type in {"_TRUE", "_FALSE", "NAME"} and "_NULL" in place.accepts and "_IS" in place.open[-2:]:
        return _TRUTH
    if place.before in {"_WITH", "_SET"} and place.accepts == {"LPAR"}:
        return _OPTIONS
    if "_CAST" in place.open and "_AS" in place.accepts:
        return _CAST
    if place.found.type == "_LIKE" and "_SHOW" in place.open:
        return "LIKE follows SHOW SETTINGS"
    if place.found.type == "_SELECT" and "_PREPARE" in place.open:
        return "a statement is prepared with AS: PREPARE nearest AS SELECT …"
    return None


def _name(place: Place) -> str | None:
    """A keyword where a name should stand."""
    if "NAME" in place.accepts and place.word in reserved_words():
        return f'{place.found} is a reserved word; as a name it stands in double quotes: "{place.found.lower()}"'
    return None


def _alias(place: Place) -> str | None:
    """Two names behind one another, of which the second is no keyword that is misspelled."""
    is_item = {"_AS", "COMMA"} <= place.accepts and {"_SELECT", "_RETURNING"} & set(place.open)
    if is_item and place.found.type in {"NAME", "QUOTED_NAME"} and place.nearest() not in {"FROM", "AS"}:
        return None if place.word in _WORDS else _ALIAS
    return None


def _near(place: Place) -> str | None:
    """A word that is misspelled, or belongs to another system."""
    if place.word in _WORDS and place.found.type != "QUOTED_NAME":
        return _WORDS[place.word]
    if nearest := place.nearest():
        return f"did you mean {nearest}?"
    return None


def _clause(place: Place) -> str | None:
    """A clause that is missing, stands twice or too late."""
    possible = [terminal for terminal in place.accepts if terminal.startswith("_") and terminal != "_AS"]
    if len(possible) == 1 and possible[0] in _MISSING:
        return _MISSING[possible[0]]
    statement = next((part for part in reversed(place.open) if part in _CLAUSES), None)
    if statement and any(clause.split()[0] == place.word for clause in _CLAUSES[statement]):
        return f"each clause stands once, in this order: {', '.join(_CLAUSES[statement])}"
    return None


# The first that knows the case speaks.
_RULES = (
    *(_condition, _statement, _table, _absent, _select, _write, _search, _create),
    *(_too_many, _value, _before, _name, _alias, _near, _clause),
)
