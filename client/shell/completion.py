"""What Tab offers: keywords of the grammar, names of the database, settings, and the meta commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from reddb.client.shell.commands import COMMANDS
from reddb.client.shell.formats import FORMATS
from reddb.grammar import SpanKind, keywords, lexical_spans, split_statements
from reddb.settings import SETTINGS
from reddb.types import METRIC_ALIASES, RESERVED_NAMES, Kind, Metric

if TYPE_CHECKING:
    from reddb.client.shell.session import Session

_WORD = re.compile(r'"?[\w.]*$')
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)

# Behind these keywords stands a collection.
_BEFORE_COLLECTION = frozenset({"FROM", "INTO", "UPDATE", "FOR", "SEARCH", "COLLECTION"})
_ASKED_MAX = 20  # collections that are asked for their fields at one Tab


class ShellCompleter(Completer):
    """Completes the last word before the cursor."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if text.lstrip().startswith("\\"):
            yield from self._of_command(text.lstrip(), event)
            return
        statement = split_statements(text)[1]
        spans = list(lexical_spans(statement))
        if spans and spans[-1][1] == len(statement) and spans[-1][2] in (SpanKind.STRING, SpanKind.COMMENT):
            return
        word = _last_word(text)
        yield from _matching(word, self._of_statement(statement.removesuffix(word), document.text), "name")
        if not word.startswith('"'):
            case: Callable[[str], str] = str.lower if word.islower() else str.upper
            yield from _matching(word, map(case, sorted(keywords())), "keyword")

    def _of_command(self, text: str, event: CompleteEvent) -> Iterable[Completion]:
        name, blank, arguments = text.partition(" ")
        if not blank:
            return _matching(name, COMMANDS, "command")
        word = _last_word(arguments)
        if name == r"\d" or (name == r"\copy" and " " not in arguments):
            return _matching(word, map(_written, self._session.names.collections()), "collection")
        if name == r"\format":
            return _matching(word, FORMATS, "format")
        if name in (r"\i", r"\o", r"\copy"):
            path = arguments if name != r"\copy" else arguments.rpartition(" ")[2]
            return self._paths.get_completions(Document(path), event)
        return []

    def _of_statement(self, before: str, whole: str) -> list[str]:
        """The names that may stand behind `before`, the likeliest kind first."""
        names = self._session.names
        collections = names.collections()
        words = [before[start:end].upper() for start, end, kind in lexical_spans(before) if kind is SpanKind.KEYWORD]
        last = words[-1] if words else ""
        is_next = before.rstrip().upper().endswith(last)  # nothing stands between the keyword and the cursor
        if last in _BEFORE_COLLECTION and is_next:
            return [_written(name) for name in collections]
        if last == "KIND":
            return [str(kind) for kind in Kind]
        if last == "METRIC" and is_next:
            return sorted({*map(str, Metric), *METRIC_ALIASES})
        if words and words[0] in ("SET", "RESET", "SHOW") and len(words) == 1:
            return names.settings()
        if last in ("WITH", "SET") and "UPDATE" not in words:
            return sorted(SETTINGS)
        named = [name for name in collections if re.search(rf"\b{re.escape(name)}\b", whole)]
        if not named and len(collections) <= _ASKED_MAX:  # SELECT comes before FROM
            named = collections
        fields = [field for name in named for field in names.fields(name)]
        return [_written(name) for name in dict.fromkeys([*fields, *sorted(RESERVED_NAMES), *collections])]


def _last_word(text: str) -> str:
    found = _WORD.search(text)
    assert found is not None
    return found[0]


def _matching(word: str, candidates: Iterable[str], kind: str) -> Iterator[Completion]:
    for candidate in candidates:
        if candidate.lower().startswith(word.lower()) and candidate != word:
            yield Completion(candidate, start_position=-len(word), display_meta=kind)


def _written(name: str) -> str:
    """A name as it stands in a statement."""
    if _PLAIN_NAME.fullmatch(name) and name.upper() not in keywords():
        return name
    return '"' + name.replace('"', '""') + '"'
