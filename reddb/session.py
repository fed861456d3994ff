"""What one session has set and prepared: the state between its statements, gone when its connection ends.

    SET, RESET                      variables (`reddb.session_settings`)
    PREPARE, EXECUTE, DEALLOCATE    statements by name; the messages Prepare and Execute do the same by number

A prepared statement is its text and its syntax tree. It is bound each time it is executed, so it means what the catalog
then says. By name a session refuses more than it keeps; by number the one that was used longest ago goes. The number is
made from the text: a client whose connection was opened anew gets the same statement or UNKNOWN_STATEMENT, never
another one.

Invariants:
  * A command of the session is done when `plan` returns, so the requests behind it see it, and those before it do not.
  * Nothing here waits, writes or touches a socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from reddb import errors, limits
from reddb.accountant import Charge, Pool, held_bytes
from reddb.grammar import ast
from reddb.query import binder
from reddb.query.binding import Binding
from reddb.query.constants import plain_constant
from reddb.query.plan import ExplainPlan, Plan, SearchPlan, SelectPlan
from reddb.query.premises import Premises
from reddb.query.values import Clock, Values, parameter_keys, utc_now, written_parameter
from reddb.requests import parsed
from reddb.session_settings import SESSION_SETTINGS, SessionValue, session_setting
from reddb.types import Collection, SearchOptions
from reddb.wire.messages import Execute, Prepare, Prepared, Query, Search
from reddb.wording import counted

Catalog: TypeAlias = Mapping[str, Collection]

# How a search is done. A search that says any of it itself takes none of it from the session.
_HOW = ("ef", "exact", "recall")


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Statement:
    """A prepared statement; `parameters` are the keys of those it wants."""

    text: str
    tree: ast.Statement
    parameters: list[int | str]
    charge: Charge


class Statements:
    """The prepared statements of all sessions of a core: one for each text, for as long as any session has it.

    `clock` says what `now()` is to all of them: the one that rows expire by, or a row might be gone before it is there.
    """

    def __init__(self, pool: Pool, clock: Clock = utc_now) -> None:
        self.pool = pool
        self.clock = clock
        self._by_text: WeakValueDictionary[str, _Statement] = WeakValueDictionary()

    def prepare(self, text: str) -> _Statement:
        """Raises what parsing raises, NOT_SUPPORTED, BUSY or TOO_LARGE."""
        statement = self._by_text.get(text)
        if statement is None:
            tree = _preparable(text)
            charge = Charge(self.pool, held_bytes(tree) + len(text))
            statement = self._by_text[text] = _Statement(text, tree, parameter_keys(tree), charge)
        return statement


class Planned(NamedTuple):
    """What to do; None where it is done already. `query` says the same, for whoever must bind it again.

    `premises` are what it takes for granted of the rows that it is about.
    """

    query: Query
    plan: Plan | None
    premises: Premises | None = None


class SessionState:
    """One session."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._charge = Charge(statements.pool)
        self.client = ""  # what the client says that it is
        self._values: dict[str, SessionValue] = {}
        self._how: dict[str, Any] = {}
        self._named: dict[str, _Statement] = {}
        self._numbered: dict[int, _Statement] = {}

    @property
    def values(self) -> Mapping[str, SessionValue]:
        """The variables that are set."""
        return self._values

    @property
    def statement_timeout_ms(self) -> int:
        return int(self._values.get("statement_timeout") or 0)

    def plan(self, message: Query | Execute, catalog: Catalog) -> Planned:
        """Bind a request, or do at once what is about the session alone. Raises an input error with its place."""
        if isinstance(message, Execute):
            return self._planned(self._prepared(message.statement), message.parameters, catalog)
        tree = parsed(message.text)
        match tree:
            case ast.SetVariable():
                self._set(message, tree)
            case ast.ResetVariable():
                self._reset(message, tree)
            case ast.Prepare():
                self._prepare(message, tree)
            case ast.Deallocate():
                self._deallocate(message, tree)
            case ast.Execute():
                return self._execute(message, tree, catalog)
            case _:
                return self._bind(tree, message, catalog)
        return Planned(message, None)

    def prepare(self, message: Prepare) -> Prepared:
        """Keep a statement by its number. Raises what parsing raises."""
        statement = self._prepared_for_number(message.text)
        number = int.from_bytes(blake2b(message.text.encode(), digest_size=8).digest(), "little") >> 1
        self._numbered.pop(number, None)
        self._numbered[number] = statement
        while _are_too_many(self._numbered):
            del self._numbered[next(iter(self._numbered))]
        self._count_prepared()
        return Prepared(number, list(map(written_parameter, statement.parameters)))

    def close(self) -> None:
        """The session has ended."""
        self._named.clear()
        self._numbered.clear()
        self._charge.release()

    def options(self, message: Search, options: SearchOptions) -> SearchOptions:
        """How a search by message is done."""
        if not self._how or message.exact or message.ef is not None or message.recall is not None:
            return options
        return options._replace(**self._how)

    # -------------------------------------------------------------------------------------------------------

    def _bind(self, tree: ast.Statement, query: Query, catalog: Catalog) -> Planned:
        plan, premises = binder.bind_with_premises(tree, query.text, query.parameters, catalog, self._statements.clock)
        return Planned(query, self._as_set(plan, tree) if self._how else plan, premises)

    def _as_set(self, plan: Any, tree: ast.Statement) -> Any:
        """The same plan, done as the session's variables say where its statement does not."""
        if isinstance(plan, ExplainPlan) and isinstance(tree, ast.Explain):
            inner = self._as_set(plan.plan, tree.statement)
            return plan if inner is plan.plan else replace(plan, plan=inner, set_by="session")
        if not isinstance(tree, ast.Select | ast.VectorSearch):
            return plan
        if any(option.name.text in _HOW for option in tree.options):
            return plan
        if isinstance(plan, SearchPlan):
            return replace(plan, options=plan.options._replace(**self._how))
        if isinstance(plan, SelectPlan) and plan.nearest is not None and plan.nearest.options is not None:
            options = plan.nearest.options._replace(**self._how)
            return replace(plan, nearest=replace(plan.nearest, options=options))
        return plan

    def _planned(self, statement: _Statement, parameters: Any, catalog: Catalog) -> Planned:
        query = Query(statement.text, parameters)
        return self._bind(statement.tree, query, catalog)

    def _set(self, message: Query, tree: ast.SetVariable) -> None:
        values, name = Values(message.text, tree, message.parameters), tree.name.text
        if values.written(tree.value).upper() == "DEFAULT":  # the word; the text 'default' has its quotes
            self._reset(message, ast.ResetVariable(tree.name, span=tree.span))
            return
        try:
            checked = session_setting(name).check(values.value(tree.value))
        except errors.RedDBError as error:
            place = tree.name if name not in SESSION_SETTINGS else tree.value
            raise values.error(error.code, error.message, place, error.detail.get("hint")) from None
        for one, other in (("ef", "recall"), ("recall", "ef")):
            if name == one and other in self._values:
                text = "ef and recall say the same thing: set one of them"
                raise values.error(errors.INVALID_SETTING, text, tree.name, f"RESET {other}")
        self._values[name] = checked
        self._remember_how()

    def _reset(self, message: Query, tree: ast.ResetVariable) -> None:
        if tree.name is None:
            self._values.clear()
        else:
            try:
                self._values.pop(session_setting(tree.name.text).name, None)
            except errors.RedDBError as error:
                values = Values(message.text, tree, message.parameters)
                raise values.error(error.code, error.message, tree.name, error.detail.get("hint")) from None
        self._remember_how()

    def _remember_how(self) -> None:
        self._how = {name: self._values[name] for name in _HOW if name in self._values}

    def _prepare(self, message: Query, tree: ast.Prepare) -> None:
        name, values = tree.name.text, Values(message.text, tree, ())
        if name in self._named:
            text = f"the session has a prepared statement {name!r} already"
            raise values.error(errors.INVALID_VALUE, text, tree.name, f"DEALLOCATE {name}")
        if message.parameters:
            raise errors.INVALID_PARAMETER.error("PREPARE takes no values; EXECUTE does")
        span = tree.statement.span
        named = {**self._named, name: self._statements.prepare(message.text[span.start : span.end])}
        if _are_too_many(named):
            most = f"{limits.PREPARED_MAX} prepared statements of together {limits.PREPARED_CHARS_MAX} characters"
            text = f"a session keeps at most {most}"
            raise values.error(errors.LIMIT_EXCEEDED, text, tree.name, "DEALLOCATE what is used no more")
        self._named = named
        self._count_prepared()

    def _deallocate(self, message: Query, tree: ast.Deallocate) -> None:
        if tree.name is None:
            self._named.clear()
        else:
            self._find(message, tree, tree.name)
            del self._named[tree.name.text]
        self._count_prepared()

    def _prepared_for_number(self, text: str) -> _Statement:
        """Where there is no room, statements that were used longest ago go first."""
        while True:
            try:
                return self._statements.prepare(text)
            except errors.RedDBError as error:
                if error.code is not errors.BUSY or not self._numbered:
                    raise
                del self._numbered[next(iter(self._numbered))]

    def _count_prepared(self) -> None:
        self._charge.resize(limits.PREPARED_ENTRY_BYTES * (len(self._named) + len(self._numbered)))

    def _execute(self, message: Query, tree: ast.Execute, catalog: Catalog) -> Planned:
        statement = self._find(message, tree, tree.name)
        values = Values(message.text, tree, message.parameters)
        binding = Binding(values, catalog)
        given = [_given(values, binding, argument) for argument in tree.arguments]
        if len(given) != len(statement.parameters):
            text = f"{tree.name.text} takes {counted(len(statement.parameters), 'value')}, not {len(given)}"
            raise values.error(errors.INVALID_PARAMETER, text, tree)
        if any(isinstance(key, str) for key in statement.parameters):
            named = {str(key): value for key, value in zip(statement.parameters, given, strict=True)}
            return self._planned(statement, named, catalog)
        return self._planned(statement, given, catalog)

    def _find(self, message: Query, tree: ast.Node, name: ast.Identifier) -> _Statement:
        if name.text not in self._named:
            values = Values(message.text, tree, message.parameters)
            text = f"the session has no prepared statement {name.text!r}"
            hint = "it has " + ", ".join(self._named) if self._named else f"PREPARE {name.text} AS SELECT …"
            raise values.error(errors.UNKNOWN_STATEMENT, text, name, hint)
        return self._named[name.text]

    def _prepared(self, number: int) -> _Statement:
        statement = self._numbered.pop(number, None)
        if statement is None:
            raise errors.UNKNOWN_STATEMENT.error(
                f"this connection has no prepared statement {number}: prepare it again"
            )
        self._numbered[number] = statement  # the one that was used last goes last
        return statement


def _are_too_many(statements: Mapping[Any, _Statement]) -> bool:
    size = sum(len(statement.text) for statement in statements.values())
    return len(statements) > limits.PREPARED_MAX or size > limits.PREPARED_CHARS_MAX


def _given(values: Values, binding: Binding, argument: ast.Expression) -> Any:
    """The value of an argument; a vector that came as a parameter stays an array."""
    return values.value(argument) if isinstance(argument, ast.Parameter) else plain_constant(binding, argument)


def _preparable(text: str) -> ast.Statement:
    tree = parsed(text)
    if isinstance(tree, ast.SessionCommand):
        raise errors.NOT_SUPPORTED.error("a command of the session cannot be prepared")
    if isinstance(tree, ast.Begin | ast.Commit | ast.Rollback):
        hint = "with db.transaction() as tx: …"
        raise errors.NOT_SUPPORTED.error("what begins or ends a transaction cannot be prepared", hint=hint)
    return tree


def timed_out(timeout_ms: int) -> errors.RedDBError:
    """The error of a query that took too long."""
    text = f"the query took longer than statement_timeout, {timeout_ms} ms"
    return errors.STATEMENT_TIMEOUT.error(text, hint="SET statement_timeout = 0 sets no bound")
