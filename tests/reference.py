"""REFERENCE.md, made of the grammar and of the tables that the engine itself reads.

python -m tests.reference     writes it anew (`make reference`)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reddb import errors, limits
from reddb.grammar.language import keywords, reserved_words
from reddb.grammar.readable import readable_rules
from reddb.metrics import METRICS
from reddb.query.functions import FUNCTIONS
from reddb.query.views import VIEWS
from reddb.session_settings import SERVER_SETTINGS, SESSION_SETTINGS, SHOWN_LIMITS
from reddb.settings import SETTINGS, written

PATH = Path(__file__).parents[1] / "REFERENCE.md"

_TOKENS = {
    "UNSIGNED": "a whole number, `42`",
    "SIGNED": "one with a sign, `-42`",
    "FLOAT": "a number, `0.5`, `-1e-3`",
    "STRING": "a text, `'it''s'`",
    "VECTOR_LITERAL": "numbers in brackets, `[0.1, -2]`",
    "NAME": "a name, in lower case whatever it is written in, `docs`",
    "QUOTED_NAME": 'a name as it is written, `"Docs"`',
    "NUMBERED": "a parameter by its number, `$1`",
    "POSITIONAL": "the next parameter, `?`",
    "NAMED": "a parameter by its name, `:name`",
    "COMPARISON": "`<>`, `!=`, `<`, `<=`, `>`, `>=`",
    "DISTANCE": "`<->` l2, `<=>` cosine, `<#>` negative inner product, `<+>` manhattan",
    "SIGN": "`+`, `-`",
    "FACTOR": "`/`, `%`",
}


def reference() -> str:
    """The whole text."""
    return "\n".join(f"{line}".rstrip() for line in _lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Made by `make reference` from the grammar and the tables that the engine reads. [LANGUAGE.md](LANGUAGE.md)"
    yield "has the same by examples, [README.md](README.md) how to run it."
    yield from _statements()
    yield from _section("Functions")
    yield from _table(["function", "", "other names"], _functions())
    yield from _section(
        "Settings of a collection", "CREATE COLLECTION … WITH (name = value)", "ALTER COLLECTION … SET (…)"
    )
    yield from _table(["setting", "values", "default", "may be changed", ""], _collection_settings())
    yield from _section("Variables of a session", "SET name = value", "RESET name", "SHOW name")
    variables = SESSION_SETTINGS.values()
    rows = ([f"`{item.name}`", item.allowed, item.default_in_words, item.meaning] for item in variables)
    yield from _table(["variable", "values", "default", ""], rows)
    yield from _section("Settings of a server", "reddb serve --name value")
    yield from _table(["setting", "default", ""], _server_settings())
    yield from _section("Limits", "SHOW SETTINGS LIKE 'limits.%'")
    shown = SHOWN_LIMITS.items()
    yield from _table(
        ["limit", "at most", ""], ([f"`{name}`", _number(getattr(limits, name)), text] for name, text in shown)
    )
    yield from _views()
    yield from _section("Metrics", "SHOW METRICS")
    metrics = METRICS.values()
    rows = ([f"`{item.name}`", item.type, item.label or "", item.meaning] for item in metrics)
    yield from _table(["metric", "type", "label", ""], rows)
    yield from _section("Errors", "SHOW ERRORS")
    yield "One that is retryable may succeed when the same is asked again."
    yield ""
    yield from _table(["number", "name", "kind", "retryable", ""], _errors())


def _section(heading: str, *statements: str) -> Iterator[str]:
    yield ""
    yield f"## {heading}"
    yield ""
    if statements:
        yield ", ".join(f"`{statement}`" for statement in statements)
        yield ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _statements() -> Iterator[str]:
    yield from _section("Statements")
    yield "Words in capitals are keywords, in any case. `[x]` may be left out, `x*` may be repeated or left out, `x+`"
    yield "stands once or more often, `|` separates what stands in one another's place; signs stand in quotes."
    for heading, rules in readable_rules():
        yield ""
        if heading:
            yield f"### {heading[0].upper()}{heading[1:]}"
            yield ""
        yield "```text"
        yield from rules
        yield "```"
    yield ""
    yield from _table(["token", ""], ([f"`{name}`", text] for name, text in _TOKENS.items()))
    yield ""
    yield f"A name may be any keyword but these {len(reserved_words())} of {len(keywords())}, which stand in double"
    yield f"quotes then: {', '.join(sorted(reserved_words()))}."


def _views() -> Iterator[str]:
    yield from _section("Views", "SELECT … FROM red.name", "SHOW NAME")
    for view in VIEWS.values():
        yield f"### {view.name}"
        yield ""
        yield view.meaning
        yield ""
        yield from _table(["column", "type", ""], ([f"`{name}`", str(kind), text] for name, kind, text in view.columns))
        yield ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _errors() -> Iterator[list[str]]:
    for code in sorted(errors.CATALOGUE.values(), key=lambda code: code.number):
        yield [str(code.number), f"`{code.name}`", str(code.kind), "yes" if code.retryable else "", code.meaning]


def _server_settings() -> Iterator[list[str]]:
    for item in SERVER_SETTINGS.values():
        yield [f"`{item.name}`", "" if item.default is None else f"`{item.default}`", item.meaning]


def _functions() -> Iterator[list[str]]:
    for function in FUNCTIONS:
        yield [f"`{function.signature}`", function.text, ", ".join(f"`{name}`" for name in function.aliases)]


def _collection_settings() -> Iterator[list[str]]:
    for setting in SETTINGS.values():
        values = (
            " or ".join(str(written(choice)) for choice in setting.choices) or f"{setting.minimum} to {setting.maximum}"
        )
        default = setting.default_in_words or str(setting.default)
        yield [f"`{setting.name}`", values, default, "yes" if setting.online else "", setting.meaning]


if __name__ == "__main__":
    PATH.write_text(reference())
