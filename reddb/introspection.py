"""The rows of the views (`reddb.query.views`), made alike for a server's core and for an embedded database.

Invariant: nothing here waits; a collection that cannot be read now is named with the reason, not left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol, TypeAlias

from reddb import errors, limits
from reddb.accountant import Accountant
from reddb.metrics import Metrics, Sample, metric_of
from reddb.names import Names
from reddb.partition.figures import (
    PartitionState,
    collection_figures,
    index_rows,
    is_turbo_ready,
    partition_without_segments,
    segment_rows,
    stats_rows,
)
from reddb.partition.reader import Reader
from reddb.query.execute import Table, show, show_one
from reddb.query.patterns import matching
from reddb.query.plan import ShowPlan
from reddb.query.views import VIEWS
from reddb.session import SessionState
from reddb.session_settings import SERVER_SETTINGS, SESSION_SETTINGS, SHOWN_LIMITS
from reddb.settings import SETTINGS, SettingValue, resolve, written
from reddb.types import Collection, Kind

_Rows: TypeAlias = list[list[Any]]


class Known(Protocol):
    """What whoever answers knows."""

    @property
    def catalog(self) -> Names: ...

    @property
    def server_settings(self) -> Mapping[str, SettingValue | None]: ...

    def reader_now(self, collection: Collection) -> Reader | None:
        """The reader of a collection, if all its rows are there."""

    def states(self, collection: Collection) -> Sequence[PartitionState]:
        """Of each partition its core, its state, and its reader, where it can be read."""


def shown(known: Known, plan: ShowPlan, session: SessionState) -> Table:
    """A view that needs no other core. Raises INVALID_SETTING for a setting that there is not."""
    if plan.view.name == "settings":
        return Table(plan.view.column_names, _wanted_settings(known, plan, session))
    if plan.view.name == "collection":
        assert plan.collection is not None
        reader = known.reader_now(plan.collection)
        return show_one(plan.collection, {"rows": None} if reader is None else collection_figures(reader))
    if plan.view.name in _OF_COLLECTION:
        return _of_collections(known, plan)
    return Table(plan.view.column_names, _HERE[plan.view.name](known))


def metrics_rows(core: int | None, metrics: Metrics, gauges: Iterator[Sample]) -> _Rows:
    """SHOW METRICS of one core."""
    rows = []
    for sample in metrics.samples(gauges):
        metric = metric_of(sample)
        rows.append([core, sample.name, sample.labels, metric.type, float(sample.value), metric.meaning])
    return rows


def memory_rows(core: int | None, accountant: Accountant) -> list[list[Any]]:
    """SHOW MEMORY of one core."""
    return [[core, pool.kind.name, pool.used, pool.peak, pool.limit, pool.kind.meaning] for pool in accountant]


def memory_samples(accountant: Accountant) -> Iterator[Sample]:
    """The same as metrics."""
    for pool in accountant:
        yield Sample("reddb_buffer_bytes", f'pool="{pool.kind.name}"', pool.used)
        yield Sample("reddb_buffer_peak_bytes", f'pool="{pool.kind.name}"', pool.peak)


# --- of the segments of collections ------------------------------------------------------------------------


def _of_collections(known: Known, plan: ShowPlan) -> Table:
    make = _OF_COLLECTION[plan.view.name]
    if plan.collection is not None:
        return Table(plan.view.column_names[1:], make(known, plan.collection))
    rows = [[name, *row] for name, collection in sorted(known.catalog.items()) for row in make(known, collection)]
    return Table(plan.view.column_names, rows)


def _segments(known: Known, collection: Collection) -> _Rows:
    rows: _Rows = []
    for number, (_, state, reader) in enumerate(known.states(collection)):
        rows += [partition_without_segments(number, state)] if reader is None else segment_rows(reader)
    return rows


def _stats(known: Known, collection: Collection) -> _Rows:
    return stats_rows(known.states(collection))


def _indexes(known: Known, collection: Collection) -> _Rows:
    return index_rows(collection, known.reader_now(collection))


_OF_COLLECTION: dict[str, Callable[[Known, Collection], _Rows]] = {
    "segments": _segments,
    "stats": _stats,
    "indexes": _indexes,
}


# --- of the whole ------------------------------------------------------------------------------------------


def _collections(known: Known) -> _Rows:
    readers = ((item, known.reader_now(item)) for _, item in sorted(known.catalog.items()))
    return show((item, None if reader is None else reader.count()) for item, reader in readers).rows


def _aliases(known: Known) -> _Rows:
    return [[name, collection] for name, collection in known.catalog.aliases.items()]


def _errors(known: Known) -> _Rows:
    catalogue = sorted(errors.CATALOGUE.values(), key=lambda code: code.number)
    return [[code.number, code.name, str(code.kind), code.retryable, code.meaning] for code in catalogue]


_HERE: dict[str, Callable[[Known], _Rows]] = {"collections": _collections, "aliases": _aliases, "errors": _errors}


# --- settings ----------------------------------------------------------------------------------------------


def _wanted_settings(known: Known, plan: ShowPlan, session: SessionState) -> _Rows:
    rows = sorted(_settings(known, session))
    if plan.name is not None:
        found = [row for row in rows if row[0] == plan.name]
        if not found:
            (near,) = get_close_matches(plan.name, [*VIEWS, *(row[0] for row in rows)], n=1, cutoff=0.7) or [""]
            shown = f"SHOW {near.upper()}" if near in VIEWS else near
            hint = f"did you mean {shown}?" if near else "SHOW SETTINGS lists them, SHOW COLLECTIONS what there is"
            raise errors.INVALID_SETTING.error(f"there is no setting {plan.name!r}", hint=hint)
        return found
    if plan.like is None:
        return rows
    wanted = matching([row[0] for row in rows], plan.like, ignore_case=True)
    return [row for row, is_wanted in zip(rows, wanted, strict=True) if is_wanted]


def _settings(known: Known, session: SessionState) -> Iterator[list[Any]]:
    for variable in SESSION_SETTINGS.values():
        value = session.values.get(variable.name, variable.default)
        source = "session" if variable.name in session.values else "default"
        yield [variable.name, written(value), written(variable.default), source, variable.meaning]
    for server in SERVER_SETTINGS.values():
        if server.name in known.server_settings:
            value = known.server_settings[server.name]
            source = "default" if value == server.default else "server"
            yield [server.name, written(value), written(server.default), source, server.meaning]
    for name, meaning in SHOWN_LIMITS.items():
        value = written(getattr(limits, name))
        yield [f"limits.{name.lower()}", value, value, "default", meaning]
    for collection in known.catalog.values():
        yield from _collection_settings(known, collection)


def _collection_settings(known: Known, collection: Collection) -> Iterator[list[Any]]:
    prefix = f"red.collection.{collection.name}"
    yield [f"{prefix}.kind", str(collection.kind), None, "collection", "How its rows are found."]
    yield [f"{prefix}.dim", str(collection.dim), None, "collection", "Dimensions of its vectors."]
    yield [f"{prefix}.metric", str(collection.metric), "cosine", "collection", "What near means."]
    defaults = resolve({}, collection.dim, has_fields=len(collection.fields) > 0)
    for name, setting in SETTINGS.items():
        value, default = collection.settings[name], defaults[name]
        source = "default" if value == default else "collection"
        yield [f"{prefix}.{name}", written(value), written(default), source, setting.meaning]
    if collection.kind is Kind.TURBO:
        reader = known.reader_now(collection)
        ready = written(reader is not None and is_turbo_ready(reader))
        meaning = "Whether codes or an index find all its rows: nothing waits to be encoded or built."
        yield [f"{prefix}.vector.turbo.ready", ready, None, "collection", meaning]
