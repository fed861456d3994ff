"""What a server's session and the embedded database do alike: messages to plans, rows to answers.

Invariant: nothing here waits, writes or touches a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from reddb import errors, limits
from reddb.accountant import spend
from reddb.byte_cache import STATEMENTS, tree_bytes
from reddb.checks import check_ids, check_vectors
from reddb.grammar import ast, parse, parse_condition
from reddb.keys import folded
from reddb.partition.changes import Changed
from reddb.partition.operations import Operation
from reddb.partition.reader import Reader
from reddb.partition.search import Found, SearchReport
from reddb.partition.view import Addresses, View
from reddb.query import binder
from reddb.query.binding import Binding
from reddb.query.columns import condition_called, condition_in
from reddb.query.execute import Table, finish
from reddb.query.plan import CreatePlan, FieldsPlan, Plan
from reddb.query.predicate import Predicate, bind_predicate
from reddb.query.premises import Premises, check_id_types
from reddb.query.returning import returned
from reddb.query.values import Values
from reddb.query.write_plans import Asked, ChangePlan, RowsPlan, WriteKind, WritePlan
from reddb.rows import RowBatch, joined
from reddb.types import Collection, SearchOptions, Vectors
from reddb.wire.messages import Delete, Get, Hits, Insert, Query, Result, Rows, Search, Statement, Upsert

T = TypeVar("T")
Write: TypeAlias = Insert | Upsert | Delete

OPERATIONS = {Insert: Operation.INSERT, Upsert: Operation.UPSERT, Delete: Operation.DELETE}
WRITES: dict[WriteKind, type[Write]] = {
    WriteKind.INSERT: Insert,
    WriteKind.UPSERT: Upsert,
    WriteKind.DELETE: Delete,
}
_KINDS = {message: kind for kind, message in WRITES.items()}
_ROWS_AT_ONCE = 1_024  # of an answer
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def plan(query: Query, catalog: Mapping[str, Collection]) -> Plan:
    """Parse and bind a statement. Raises an input error that points at the place."""
    return binder.bind(parsed(query.text), query.text, query.parameters, catalog)


def plan_again(statement: Statement, target: Collection) -> RowsPlan:
    """What another core made of a statement about rows of this collection, at the instant at which it did."""
    now = _EPOCH + timedelta(microseconds=statement.now_us)
    tree = parsed(statement.text)
    bound = binder.bind(tree, statement.text, statement.parameters, {}, lambda: now, target)
    assert isinstance(bound, WritePlan | ChangePlan)
    return bound


def statement_of(asked: Asked, target: Collection) -> Statement:
    """The message from which `plan_again` makes the plan again."""
    parameters = asked.parameters if isinstance(asked.parameters, dict) else list(asked.parameters)
    return Statement(target.id, asked.text, parameters, (asked.now - _EPOCH) // timedelta(microseconds=1))


def write_plan(message: Write, collection: Collection) -> WritePlan:
    """The rows of a message as a plan."""
    return WritePlan(collection, _KINDS[type(message)], given_batch(message))


def given_batch(message: Write | Get) -> RowBatch:
    """The rows or ids of a request. Raises LIMIT_EXCEEDED for too many, before they are decoded."""
    return RowBatch.decode(message.batch, limits.BATCH_ROWS_MAX)


def write_message(plan: WritePlan) -> Write:
    """The plan, which is plain, as a message."""
    return WRITES[plan.kind](plan.collection.name, b"".join(plan.batch.encode()))


def changed_result(changed: Changed, plan: RowsPlan) -> list[Result]:
    """The answer to a statement that wrote rows, in parts; with RETURNING it has rows too."""
    if plan.returning is None:
        return [affected(changed.count)]
    assert changed.rows is not None
    parts = results(returned(plan.returning, changed.rows))
    parts[0].affected = changed.count
    return parts


def parsed(text: str) -> ast.Statement:
    """The statement that a text says. Raises SYNTAX and what else `parse` raises."""
    # A long text holds literals and is not seen again; keeping it would push out the short ones.
    return _kept(parse, text) if len(text) <= limits.STATEMENT_CACHE_TEXT_BYTES_MAX else parse(text)


def collection_named(name: str, catalog: Mapping[str, Collection]) -> Collection:
    """Raises UNKNOWN_COLLECTION."""
    if name not in catalog:
        raise errors.UNKNOWN_COLLECTION.error(f"there is no collection {name!r}")
    return catalog[name]


class CheckedSearch(NamedTuple):
    """A search that was checked: its queries, float32 (q, dim), how, among which rows, and what it takes for granted.

    `premises` are None where there is nothing to ask the rows.
    """

    queries: Vectors
    options: SearchOptions
    predicate: Predicate | None
    premises: Premises | None


def search_of(message: Search, collection: Collection) -> CheckedSearch:
    """Check a search. Raises an input or limit error."""
    if not 0 <= message.k <= limits.K_MAX:
        raise errors.LIMIT_EXCEEDED.error(f"k is from 0 to {limits.K_MAX}, not {message.k}")
    if message.ef is not None and not 1 <= message.ef <= limits.EF_MAX:
        raise errors.LIMIT_EXCEEDED.error(f"ef is from 1 to {limits.EF_MAX}, not {message.ef}")
    if message.dim < 1 or len(message.queries) % (4 * message.dim):
        raise errors.INVALID_VECTOR.error(f"{len(message.queries)} bytes are no vectors of {message.dim} float32")
    queries = np.frombuffer(message.queries, np.float32).reshape(-1, message.dim)
    if len(queries) > limits.QUERIES_MAX:
        raise errors.LIMIT_EXCEEDED.error(f"a search has at most {limits.QUERIES_MAX} queries, not {len(queries)}")
    if len(queries) * message.k > limits.SEARCH_ROWS_MAX:
        text = f"{len(queries)} queries for {message.k} rows each: SEARCH_ROWS_MAX is {limits.SEARCH_ROWS_MAX} together"
        raise errors.LIMIT_EXCEEDED.error(text, hint="send fewer queries at a time, or ask for fewer rows")
    if message.recall is not None and not 0 < message.recall <= 1:
        raise errors.INVALID_VALUE.error(f"recall is above 0, at most 1, not {message.recall}")
    if message.recall is not None and message.ef is not None:
        raise errors.INVALID_PARAMETER.error("ef and recall say the same thing: give one of them")
    check_vectors(collection, queries, "query" if len(queries) > 1 else "")
    options = SearchOptions(message.k, message.ef, message.exact, message.recall)
    return CheckedSearch(queries, options, *_filter_of(message, collection))


def _filter_of(message: Search, collection: Collection) -> tuple[Predicate | None, Premises | None]:
    """The filter of a search, bound as the WHERE of a statement is."""
    if message.where is None:
        if message.parameters:
            raise errors.INVALID_PARAMETER.error("parameters are given, but there is no filter to use them")
        return None, None
    parsed = _kept(parse_condition, message.where)
    values = Values(message.where, parsed, message.parameters)
    binding = Binding(values, {}, collection)
    if message.collection == collection.name:
        resolved = values.once(condition_in, parsed, collection)
    else:
        resolved = condition_called(parsed, collection, message.collection)
    condition = binding.found(resolved)
    predicate = bind_predicate(condition, values, collection.fields, collection.metric, collection.dim)
    premises = Premises(collection, values, resolved.keys)
    return predicate, None if premises.are_none else premises


def notices_of(premises: Premises | None, reader: Reader | None) -> list[str]:
    """What is to be told beside the answer. Raises INVALID_VALUE for ids of a type that no row has."""
    return [] if premises is None or reader is None else premises.notices(reader.known)


def notices_of_plan(
    plan: Plan | None,
    premises: Premises | None,
    catalog: Mapping[str, Collection],
    reader_now: Callable[[Collection], Reader | None],
) -> list[str]:
    """What is worth a notice before a statement is done. Raises INVALID_VALUE for what no row can be."""
    if isinstance(plan, CreatePlan) and plan.if_not_exists and plan.name in catalog:
        return _differences(plan, catalog[plan.name])
    if isinstance(plan, FieldsPlan):
        return _lacking(plan, catalog[plan.name], reader_now(catalog[plan.name]))
    return [] if premises is None else notices_of(premises, reader_now(premises.collection))


def _differences(plan: CreatePlan, there: Collection) -> list[str]:
    wanted = {"KIND": plan.kind, "DIM": plan.dim, "METRIC": plan.metric}
    found = {"KIND": there.kind, "DIM": there.dim, "METRIC": there.metric}
    other = [f"{word} {found[word]}, not {value}" for word, value in wanted.items() if value != found[word]]
    if plan.fields != there.fields:
        other.append("other FIELDS")
    return [f"{plan.name} exists already, with {', '.join(other)}"] if other else []


def _lacking(plan: FieldsPlan, there: Collection, reader: Reader | None) -> list[str]:
    """Of fields that are added: rows that lack a value which they must have could never be changed."""
    added = [field for field in plan.fields if there.fields.get(field.name) is None]
    needed = [field.name for field in added if field.not_null and field.default is None]
    if not needed or reader is None or not reader.known.has_rows():
        return []
    (name,) = needed
    if reader.known.has_path(folded(name)):
        return [f"a row of {there.name} that has no {name} can be changed only together with it"]
    raise errors.INVALID_VALUE.error(
        f"{there.name} has rows, and none has a {name}", hint="give the field a DEFAULT, or add it without NOT NULL"
    )


def with_notices(parts: list[Result], notices: list[str]) -> list[Result]:
    """The parts of an answer, with notices in the first."""
    parts[0].notices = notices
    return parts


def hits(
    message: Search, report: SearchReport | None, notices: Sequence[str], found: list[Found]
) -> Hits | Generator[None, None, Hits]:
    """The answer to a search; of many rows what makes it in slices."""
    steps = hits_steps(message, found, report, notices)
    return finish(steps) if sum(len(item.addresses) for item in found) <= _ROWS_AT_ONCE else steps


def hits_steps(
    message: Search, found: list[Found], report: SearchReport | None = None, notices: Sequence[str] = ()
) -> Generator[None, None, Hits]:
    """The answer to a search, in slices. Raises TOO_LARGE for more than an answer may have."""
    told = None if report is None else report.to_plain()
    counts = [len(item.addresses) for item in found]
    if not found:
        return Hits(counts, b"", b"".join(_NO_ROWS.encode()), told, list(notices))
    addresses, distances = found[0].addresses, found[0].distances
    if len(found) > 1:
        addresses = np.concatenate([item.addresses for item in found])
        distances = np.concatenate([item.distances for item in found])
    batch = yield from _stored_steps(found[0].view, addresses, message.with_payloads, message.with_vectors)
    return Hits(counts, distances.tobytes(), batch, told, list(notices))


_NO_ROWS = RowBatch(np.empty(0, np.int64), np.empty((0, 0), np.float32))


def check_deleted(message: Write, collection: Collection, reader: Reader | None) -> None:
    """Raises INVALID_VALUE for a delete of ids of a type that no row has."""
    if isinstance(message, Delete) and reader is not None:
        _check_id_types(collection, given_batch(message), reader)


def _check_id_types(collection: Collection, batch: RowBatch, reader: Reader) -> None:
    few = batch.ids[:1].tolist() if isinstance(batch.ids, np.ndarray) else batch.ids  # an array has one type
    check_id_types(collection, few, reader.known)


def rows_steps(message: Get, reader: Reader) -> Generator[None, None, Rows]:
    """The answer to a get, in slices. Raises INVALID_VALUE for ids of a type that no row has, TOO_LARGE."""
    batch, view = given_batch(message), reader.view()
    check_ids(batch.ids)
    _check_id_types(view.collection, batch, reader)
    ids = batch.id_list()
    found = []
    for first in range(0, len(ids), _ROWS_AT_ONCE):
        if first:
            yield
        found.append(view.get(ids[first : first + _ROWS_AT_ONCE]))
    places = np.concatenate([np.empty(0, np.int64), *found])
    return Rows((yield from _stored_steps(view, places[places >= 0], True, message.with_vectors)))


def results(table: Table) -> list[Result]:
    """A table in parts that fit a frame each; at least one."""
    size = limits.RESULT_PART_ROWS
    starts = range(0, max(len(table.rows), 1), size)
    return [Result(table.columns, table.rows[start : start + size], None) for start in starts]


def affected(count: int | None) -> Result:
    """The result of a statement that wrote `count` rows, or of one that changed the catalog (None)."""
    return Result([], [], count)


def _stored_steps(
    view: View, addresses: Addresses, with_payloads: bool, with_vectors: bool
) -> Generator[None, None, bytes]:
    parts: list[RowBatch] = []
    size = 0
    for first in range(0, max(len(addresses), 1), _ROWS_AT_ONCE):
        if first:
            yield
        some = addresses[first : first + _ROWS_AT_ONCE]
        if len(addresses) > limits.UNCOUNTED_ROWS:
            spend(4 * len(some) * view.collection.dim if with_vectors else 0)
            spend(view.payload_bytes(some) if with_payloads else 0)
        vectors = view.vectors(some) if with_vectors else np.empty((len(some), 0), np.float32)
        payloads = view.payload_column(some) if with_payloads else None
        parts.append(RowBatch(view.id_column(some), vectors, payloads))
        size += vectors.nbytes + (0 if payloads is None else len(payloads.content))
        if size > limits.ANSWER_BYTES_MAX:
            message = f"the rows of the answer have more than {limits.ANSWER_BYTES_MAX} bytes: ANSWER_BYTES_MAX"
            raise errors.TOO_LARGE.error(message, hint="ask for fewer rows at a time, or without vectors or payloads")
    return b"".join(joined(parts).encode())


def _kept(parser: Callable[[str], T], text: str) -> T:
    """What a parser gives for the text, kept for the next time."""
    tree: T | None = STATEMENTS.get((parser, text))
    if tree is None:
        tree = parser(text)
        STATEMENTS.put((parser, text), tree, tree_bytes(text))
    return tree
