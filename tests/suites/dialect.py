"""SQL as other systems write it, as statements of RedDB: what one collection can answer, or why it cannot.

Translated are words, never meanings: a table is a collection whose ids count its rows and whose vectors say nothing,
`*` is the list of its columns, names of types are those of FIELDS, and NULLs stand first, as they do in SQLite.
What needs more than one collection, or what the language does not have, is NotApplicable with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

_TOKEN = re.compile(r"'(?:[^']|'')*'|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\w+|<>|<=|>=|!=|==|\|\||<<|>>|[^\s\w]")
_CLAUSES = {"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET"}
_NO_ALIAS = _CLAUSES | {"AS", "AND", "OR", "NOT", "IN", "IS", "BETWEEN", "LIKE", "NULL", "ASC", "DESC", "JOIN", "CROSS"}
_TYPES = {
    **dict.fromkeys(("INTEGER", "INT", "BIGINT", "SMALLINT"), "INT"),
    **dict.fromkeys(("FLOAT", "REAL", "DOUBLE", "DECIMAL", "NUMERIC"), "FLOAT"),
    **dict.fromkeys(("TEXT", "VARCHAR", "CHAR"), "TEXT"),
}

# What the language has not, by a word or sign that betrays it.
_MISSING = {
    **dict.fromkeys(("UNION", "EXCEPT", "INTERSECT"), "set operation"),
    **dict.fromkeys(("JOIN", "NATURAL"), "join"),
    **dict.fromkeys(("CASE",), "CASE"),
    **dict.fromkeys(("||",), "||"),
    **dict.fromkeys(("EXISTS",), "subquery"),
    **dict.fromkeys(("TOTAL", "GROUP_CONCAT"), "aggregate of SQLite"),
    **dict.fromkeys(("INDEXED",), "hint for SQLite's planner"),
    **dict.fromkeys(("TRIGGER",), "trigger"),
    **dict.fromkeys(("VIEW",), "view"),
    **dict.fromkeys(("REPLACE",), "REPLACE"),
    **dict.fromkeys(("REINDEX",), "REINDEX"),
}


class NotApplicable(Exception):
    """Why a statement has no meaning here."""


def tokens(sql: str) -> list[str]:
    return _TOKEN.findall(sql)


def split(parts: Sequence[str], separator: str = ",") -> list[list[str]]:
    """The parts between separators that lie in no parentheses."""
    found: list[list[str]] = [[]]
    depth = 0
    for part in parts:
        depth += (part == "(") - (part == ")")
        if part == separator and not depth:
            found.append([])
        else:
            found[-1].append(part)
    return found


def is_name(token: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z_]\w*", token))


def in_words(parts: Sequence[str]) -> str:
    """Tokens as a text, with words that mean the same here."""
    return " ".join(_word(parts)).replace(" . ", ".")


def _word(parts: Sequence[str]) -> Iterator[str]:
    previous = ""
    for number, part in enumerate(parts):
        word = part.upper()
        if word == "ALL" and previous in ("SELECT", "("):
            continue
        if word in _TYPES and previous == "AS" and parts[number + 1 : number + 2] == [")"]:
            yield _TYPES[word]
        elif word == "LIKE":  # in SQLite it does not tell capitals from small letters
            yield "ILIKE"
        else:
            yield part
        previous = word


def clauses(parts: Sequence[str]) -> dict[str, list[str]]:
    """A SELECT's tokens by the word that leads them, SELECT among them."""
    found: dict[str, list[str]] = {"SELECT": []}
    depth = 0
    at = "SELECT"
    for part in parts[1:]:
        depth += (part == "(") - (part == ")")
        if not depth and part.upper() in _CLAUSES:
            at = part.upper()
            found[at] = []
        else:
            found[at].append(part)
    return found


def query(sql: str, columns: Mapping[str, Sequence[str]]) -> str:
    """A SELECT over one of the tables whose columns these are.

    Raises NotApplicable.
    """
    parts = tokens(sql)
    refuse_missing(parts)
    if parts[0].upper() != "SELECT":
        raise NotApplicable(f"{parts[0].upper()} as a query")
    if sum(part.upper() == "SELECT" for part in parts) > 1:
        raise NotApplicable("subquery")
    found = clauses(parts)
    table = found.get("FROM", [])
    if "," in table:
        raise NotApplicable("join")
    if table and table[0] not in columns:
        raise NotApplicable("table that could not be made here")
    if table:
        found["FROM"] = list(_with_as(table))
    statement = "SELECT " + _items(found["SELECT"], columns[table[0]] if table else ())
    for clause in ("FROM", "WHERE", "GROUP", "HAVING"):
        if clause in found:
            statement += f" {clause} {in_words(found[clause])}"
    if "ORDER" in found:
        statement += " ORDER BY " + ", ".join(_nulls_as_in_sqlite(key) for key in split(found["ORDER"][1:]))
    for clause in ("LIMIT", "OFFSET"):
        if clause in found:
            statement += f" {clause} {in_words(found[clause])}"
    return statement


def refuse_missing(parts: Sequence[str]) -> None:
    """Raises NotApplicable for a word or sign that the language has not."""
    for part in parts:
        if part.upper() in _MISSING:
            raise NotApplicable(_MISSING[part.upper()])


def _items(parts: Sequence[str], columns: Sequence[str]) -> str:
    lead = ""
    if parts and parts[0].upper() in ("ALL", "DISTINCT"):
        lead = "DISTINCT " if parts[0].upper() == "DISTINCT" else ""
        parts = parts[1:]
    items: list[str] = []
    for item in split(parts):
        if item[-1] == "*" and (len(item) == 1 or item[-2] == "."):
            items += [in_words([*item[:-1], column]) for column in columns]
        else:
            items.append(in_words(_with_as(item)))
    return lead + ", ".join(items)


def _with_as(item: Sequence[str]) -> Sequence[str]:
    """An item of SELECT whose name stands behind AS."""
    if len(item) < 2 or not is_name(item[-1]) or item[-1].upper() in _NO_ALIAS:
        return item
    before = item[-2]
    is_word = before[0].isalnum() and before.upper() not in _NO_ALIAS - {"NULL"}
    return [*item[:-1], "AS", item[-1]] if is_word or before[0] in ")'" else item


def _nulls_as_in_sqlite(key: Sequence[str]) -> str:
    words = [part.upper() for part in key]
    if "NULLS" in words:
        return in_words(key)
    return in_words(key) + (" NULLS LAST" if words[-1] == "DESC" else " NULLS FIRST")


def fields(definition: Sequence[str]) -> dict[str, str]:
    """Columns and types of a CREATE TABLE, from the tokens in its parentheses.

    Raises NotApplicable.
    """
    found = {}
    for column in split(definition):
        if column[0].upper() in ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN"):
            continue
        kind = column[1].upper() if len(column) > 1 else ""
        if kind not in _TYPES:
            raise NotApplicable("column without a type that exists here")
        found[column[0]] = _TYPES[kind]
    return found
