"""The catalogue of errors: what clients and scripts may rely on."""

from __future__ import annotations

import copy
import multiprocessing
import pickle  # noqa: TID251 - these pickles are our own
import re
from dataclasses import replace

import pytest

from reddb import errors
from reddb.errors import CATALOGUE, ErrorKind, RedDBError

# Clients try again by themselves after these, and after no others: each addition is a promise.
RETRYABLE = {
    "BUSY",
    "CONNECTION_LOST",
    "DISK_FULL",
    "NOT_READY",
    "OUT_OF_MEMORY",
    "SHUTTING_DOWN",
    "TIMEOUT",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_FILES",
    "TOO_MANY_ROWS",
    "UNAVAILABLE",
}
# Numbers cross the wire and stand in users' scripts: a number once given keeps its name.
NUMBERS = {
    1001: "SYNTAX",
    1002: "NOT_SUPPORTED",
    1003: "INVALID_PARAMETER",
    1004: "INVALID_SETTING",
    1005: "INVALID_DIMENSION",
    1006: "INVALID_VECTOR",
    1007: "INVALID_ID",
    1008: "INVALID_PAYLOAD",
    1009: "UNKNOWN_COLLECTION",
    1010: "UNKNOWN_COLUMN",
    1011: "INVALID_NAME",
    1012: "INVALID_VALUE",
    1013: "INVALID_URL",
    2001: "DUPLICATE_ID",
    2002: "COLLECTION_EXISTS",
    2003: "DATA_IN_USE",
    3001: "LIMIT_EXCEEDED",
    3002: "TOO_MANY_CONNECTIONS",
    3003: "OUT_OF_MEMORY",
    3004: "TOO_MANY_ROWS",
    3005: "TOO_MANY_FILES",
    4001: "UNAVAILABLE",
    4002: "NOT_READY",
    4003: "CONNECTION_LOST",
    4004: "SHUTTING_DOWN",
    4005: "TIMEOUT",
    4006: "DISK_FULL",
    5001: "CORRUPT_DATA",
    5002: "DISK_FAILED",
    5003: "UNSUPPORTED_FORMAT",
    5004: "PROTOCOL",
    9001: "INTERNAL",
}


def test_numbers_and_names_are_unique_and_stay():
    assert len({code.number for code in CATALOGUE.values()}) == len(CATALOGUE)
    assert {code.number: name for name, code in CATALOGUE.items()}.items() >= NUMBERS.items()


def test_retryable_errors_are_these_and_no_others():
    assert {code.name for code in CATALOGUE.values() if code.retryable} == RETRYABLE


def test_the_kind_is_told_by_the_number():
    kinds = {1: ErrorKind.INPUT, 2: ErrorKind.CONFLICT, 3: ErrorKind.LIMIT, 4: ErrorKind.UNAVAILABLE}
    kinds |= {5: ErrorKind.DATA, 9: ErrorKind.BUG}
    assert {code.name: code.kind for code in CATALOGUE.values()} == {
        code.name: kinds[code.number // 1000] for code in CATALOGUE.values()
    }


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=lambda code: code.name)
def test_every_code_has_a_name_of_its_own_in_the_module_and_a_sentence(code):
    assert getattr(errors, code.name) is code
    assert re.fullmatch(r"[A-Z][A-Z_]+", code.name)
    assert code.meaning[0].isupper()
    assert code.meaning.endswith(".")


def test_an_error_shows_excerpt_and_hint():
    error = errors.SYNTAX.error("expected FROM", line=1, excerpt="SELECT\n ^", hint="add FROM")
    assert str(error) == "SYNTAX: expected FROM\nSELECT\n ^\nhint: add FROM"
    assert (error.name, error.retryable, error.detail["line"]) == ("SYNTAX", False, 1)
    assert str(errors.TIMEOUT.error("no answer")) == "TIMEOUT: no answer"


def test_errors_do_not_share_their_details():
    first, second = RedDBError(errors.SYNTAX, "a"), RedDBError(errors.SYNTAX, "b")
    first.detail["row"] = 1
    assert second.detail == {}


class Stopped(RedDBError):
    """An error that is made in another way than its base, and has an attribute of its own."""

    def __init__(self, step):
        super().__init__(errors.TIMEOUT, f"stopped at {step}", {"row": step, "hint": "go on"})
        self.step = step


def raised():
    """One of each kind: of the catalogue, of a class of its own, and of a server that is newer than this client."""
    newer = replace(errors.TIMEOUT, number=4999, name="TOO_NEW")
    error = errors.SYNTAX.error("expected FROM", line=1, excerpt="SELECT\n ^", hint="add FROM")
    error.add_note("in the third file")
    return [error, Stopped(7), newer.error("what this client does not know", row=2)]


WAYS = {
    **{f"pickle {version}": lambda error, version=version: pickle.loads(pickle.dumps(error, version))
       for version in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("error", raised(), ids=lambda error: error.name)
def test_an_error_goes_through_pickle_and_copy_as_it_is(error, way):
    other = way(error)
    assert other is not error
    assert (type(other), str(other), other.args) == (type(error), str(error), error.args)
    assert vars(other) == vars(error)
    assert error.name not in CATALOGUE or other.code is error.code, "codes are compared by identity"


@pytest.mark.parametrize("code", CATALOGUE.values(), ids=lambda code: code.name)
def test_a_code_stays_the_one_of_the_catalogue(code):
    assert pickle.loads(pickle.dumps(code)) is copy.deepcopy(code) is copy.copy(code) is code


def fail(step):
    raise Stopped(step)


def test_a_worker_process_delivers_its_error():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        asked = pool.apply_async(fail, (3,))
        with pytest.raises(Stopped) as caught:
            asked.get(timeout=60)
    assert (caught.value.step, caught.value.detail) == (3, {"row": 3, "hint": "go on"})
    assert caught.value.code is errors.TIMEOUT
