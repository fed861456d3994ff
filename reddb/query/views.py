"""The tables that the database shows of itself: `SHOW SESSIONS` is all of `SELECT * FROM red.sessions`.

Each view is declared once, below: its columns, and who makes its rows.

    HERE          whoever is asked: from the catalog, the settings and the catalogue of errors
    COLLECTION    whoever is asked, from the segments of one collection, `FOR` which it is shown, or of all
    CORES         every core for itself; whoever is asked gathers them

Where a view is shown FOR one collection, the column `collection` is left out.

Invariant: a view's rows have its columns, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from reddb.fields import FieldType

PREFIX = "red."  # of the views' names in SELECT; no collection and no alias may be called so

_TEXT, _INT, _FLOAT, _BOOL = FieldType.TEXT, FieldType.INT, FieldType.FLOAT, FieldType.BOOL
_TIMESTAMP, _JSON = FieldType.TIMESTAMP, FieldType.JSON


class Maker(Enum):
    """Who makes the rows of a view."""

    HERE = auto()
    COLLECTION = auto()
    CORES = auto()


class ViewColumn(NamedTuple):
    """One column; JSON may be any plain value."""

    name: str
    type: FieldType
    meaning: str


@dataclass(frozen=True, slots=True)
class View:
    """One view."""

    name: str
    made_by: Maker
    meaning: str
    columns: tuple[ViewColumn, ...]
    is_shown_only: bool = False  # there is no SELECT from it

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View(
            "collections",
            Maker.HERE,
            "The collections.",
            (
                ViewColumn("name", _TEXT, "What it is called."),
                ViewColumn("kind", _TEXT, "How its rows are found."),
                ViewColumn("dim", _INT, "Dimensions of its vectors."),
                ViewColumn("metric", _TEXT, "What near means."),
                ViewColumn("rows", _INT, "Live rows; NULL while it recovers."),
            ),
        ),
        View(
            "collection",
            Maker.COLLECTION,
            "One collection, a property a row; only shown, for it needs a name.",
            (
                ViewColumn("property", _TEXT, "A property, setting or figure."),
                ViewColumn("value", _JSON, "Its value now."),
            ),
            is_shown_only=True,
        ),
        View(
            "segments",
            Maker.COLLECTION,
            "The segments that hold the rows.",
            (
                ViewColumn("collection", _TEXT, "Whose rows."),
                ViewColumn("partition", _INT, "In which partition."),
                ViewColumn("segment", _INT, "The segment's number in its partition."),
                ViewColumn("state", _TEXT, "growing, building, sealed, or what keeps its partition from being read."),
                ViewColumn("index", _TEXT, "How it is searched."),
                ViewColumn("rows", _INT, "Rows in it, dead ones too."),
                ViewColumn("live", _INT, "Rows in it that live."),
                ViewColumn("bytes_disk", _INT, "Bytes of its files."),
                ViewColumn("bytes_memory", _INT, "Bytes of memory that it takes."),
                ViewColumn("job", _TEXT, "How far the work on it has come, where there is any."),
                ViewColumn("expired", _INT, "Rows whose time has come, that wait to be deleted; not among the live."),
            ),
        ),
        View(
            "stats",
            Maker.COLLECTION,
            "The partitions.",
            (
                ViewColumn("collection", _TEXT, "Whose rows."),
                ViewColumn("partition", _INT, "The partition's number."),
                ViewColumn("core", _INT, "The core that writes it; NULL in an embedded database."),
                ViewColumn("state", _TEXT, "ready, recovering, or why it is refused."),
                ViewColumn("rows", _INT, "Live rows."),
                ViewColumn("growing_rows", _INT, "Rows that are not in files yet."),
                ViewColumn("segments", _INT, "Segments."),
                ViewColumn("lsn", _INT, "The number of the last operation."),
                ViewColumn("log_bytes", _INT, "Bytes of the log that a restart would read."),
                ViewColumn("sealed_lsn", _INT, "Operations up to this one are in files."),
                ViewColumn("checkpoint_lsn", _INT, "Operations up to this one are in files or in a snapshot of codes."),
                ViewColumn("caches_refused", _INT, "Indexes that failed their checksum and were made anew."),
            ),
        ),
        View(
            "indexes",
            Maker.COLLECTION,
            "The indexes of fields.",
            (
                ViewColumn("collection", _TEXT, "Whose field."),
                ViewColumn("field", _TEXT, "The path of the field."),
                ViewColumn("sealed_rows", _INT, "Rows in sealed segments; NULL while the collection recovers."),
                ViewColumn("covered_rows", _INT, "Those of them that the index covers."),
            ),
        ),
        View(
            "aliases",
            Maker.HERE,
            "Other names of collections.",
            (
                ViewColumn("name", _TEXT, "The other name."),
                ViewColumn("collection", _TEXT, "The collection that it stands for."),
            ),
        ),
        View(
            "settings",
            Maker.HERE,
            "Everything that can be set, and the limits of a request.",
            (
                ViewColumn("name", _TEXT, "Its name; what belongs to a collection begins with red.collection."),
                ViewColumn("value", _TEXT, "What holds now, for the session that asks."),
                ViewColumn("default", _TEXT, "What holds where nothing is set."),
                ViewColumn("source", _TEXT, "Who set it: default, server, collection or session."),
                ViewColumn("meaning", _TEXT, "What it does."),
            ),
        ),
        View(
            "sessions",
            Maker.CORES,
            "The connections.",
            (
                ViewColumn("id", _INT, "The session's number; NULL for a core that did not answer."),
                ViewColumn("core", _INT, "The core that serves it; NULL in an embedded database."),
                ViewColumn("client", _TEXT, "What the client says that it is."),
                ViewColumn("application_name", _TEXT, "What the session is called: SET application_name."),
                ViewColumn("since", _TIMESTAMP, "When it connected."),
                ViewColumn("state", _TEXT, "active, idle, or `no answer` for a core that gave none in time."),
                ViewColumn("queries", _INT, "Its requests under way."),
            ),
        ),
        View(
            "queries",
            Maker.CORES,
            "The queries that go on beyond the turn they came in.",
            (
                ViewColumn("id", _INT, "What KILL wants; NULL for a core that did not answer."),
                ViewColumn("session", _INT, "The session that asked."),
                ViewColumn("core", _INT, "The core it runs on; NULL in an embedded database."),
                ViewColumn("since", _TIMESTAMP, "When it began."),
                ViewColumn("elapsed_ms", _FLOAT, "How long it has run, in milliseconds."),
                ViewColumn("state", _TEXT, "running, writing (not to be stopped), stopping, or `no answer` of a core."),
                ViewColumn("statement", _TEXT, "The beginning of its text."),
            ),
        ),
        View(
            "errors",
            Maker.HERE,
            "Everything that can go wrong.",
            (
                ViewColumn("number", _INT, "The error's number."),
                ViewColumn("name", _TEXT, "The error's name."),
                ViewColumn("kind", _TEXT, "input, conflict, limit, unavailable, data or bug."),
                ViewColumn("retryable", _BOOL, "Whether the same request may succeed later, unchanged."),
                ViewColumn("meaning", _TEXT, "What it says."),
            ),
        ),
        View(
            "memory",
            Maker.CORES,
            "What buffers, caches and queues take of the memory that there is for them.",
            (
                ViewColumn("core", _INT, "The core that takes it; NULL in an embedded database."),
                ViewColumn("pool", _TEXT, "The kind of memory."),
                ViewColumn("used", _INT, "Bytes that are taken now."),
                ViewColumn("peak", _INT, "The most that were taken at once."),
                ViewColumn("limit", _INT, "The most that may be; beyond it requests get BUSY or TOO_LARGE."),
                ViewColumn("meaning", _TEXT, "What is counted."),
            ),
        ),
        View(
            "metrics",
            Maker.CORES,
            "What was counted and measured since each core started.",
            (
                ViewColumn("core", _INT, "The core that counted; NULL in an embedded database."),
                ViewColumn("name", _TEXT, "The metric's name, as Prometheus would have it."),
                ViewColumn("labels", _TEXT, 'What it is counted by, such as kind="query"; else empty.'),
                ViewColumn("type", _TEXT, "counter, gauge or histogram."),
                ViewColumn("value", _FLOAT, "The count or measure."),
                ViewColumn("meaning", _TEXT, "What is counted."),
            ),
        ),
    )
}
