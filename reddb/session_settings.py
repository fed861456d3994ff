"""The tables of session variables, of the server's own settings and of the limits that SHOW SETTINGS tells.

    SESSION_SETTINGS     SET, RESET; gone with the connection
    SERVER_SETTINGS      the words of `reddb serve`
    SHOWN_LIMITS         bounds of `reddb.limits` that a request may meet

Invariant: a variable stands here only if something reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from reddb import errors, limits
from reddb.durations import parse_duration
from reddb.settings import SettingValue, unknown_setting
from reddb.wording import shown

SessionValue: TypeAlias = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class SessionSetting:
    """One variable of a session. `read` gives the value to keep, and raises ValueError for what is not `allowed`."""

    name: str
    default: SessionValue
    default_in_words: str
    allowed: str
    meaning: str
    read: Callable[[Any], SessionValue]

    def check(self, value: Any) -> SessionValue:
        """Return the value to keep, or raise INVALID_SETTING saying what would be right."""
        try:
            return self.read(value)
        except ValueError:
            message = f"{self.name} must be {self.allowed}, not {shown(value)}"
            raise errors.INVALID_SETTING.error(message, setting=self.name) from None


def duration_ms(value: Any) -> int:
    """Milliseconds of `1500`, `'1500'`, `'2s'`, `'1.5 min'`. Raises ValueError."""
    if type(value) not in (int, str):
        raise ValueError
    text = str(value).strip()
    milliseconds = int(text) if text.isascii() and text.isdecimal() else round(parse_duration(text) / 1000)
    if milliseconds > limits.STATEMENT_TIMEOUT_MS_MAX:
        raise ValueError
    return milliseconds


def _ef(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= limits.EF_MAX:
        raise ValueError
    return value


def _exact(value: Any) -> bool:
    if value in ("true", "on", "false", "off"):
        return value in ("true", "on")
    if type(value) is not bool:
        raise ValueError
    return value


def _recall(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value <= 1:
        raise ValueError
    return float(value)


def _application_name(value: Any) -> str:
    if type(value) is not str or len(value.encode()) > limits.NAME_BYTES_MAX or not value.isprintable():
        raise ValueError
    return value


SESSION_SETTINGS: dict[str, SessionSetting] = {
    setting.name: setting
    for setting in (
        SessionSetting(
            name="statement_timeout",
            default=0,
            default_in_words="0, no bound",
            allowed="milliseconds, or a text such as '2s' (ms, s, min, h), up to 24 days",
            meaning="Milliseconds after which a query is stopped with STATEMENT_TIMEOUT; a write, once begun, is not.",
            read=duration_ms,
        ),
        SessionSetting(
            name="ef",
            default=None,
            default_in_words="the collection's",
            allowed=f"an integer from 1 to {limits.EF_MAX}",
            meaning="Candidates that each segment gives to the exact ranking, for searches that do not say how.",
            read=_ef,
        ),
        SessionSetting(
            name="recall",
            default=None,
            default_in_words="none asked for",
            allowed="a number above 0, at most 1",
            meaning="Share of the true neighbours to find, for searches that do not say how.",
            read=_recall,
        ),
        SessionSetting(
            name="exact",
            default=False,
            default_in_words="false",
            allowed="true or false",
            meaning="Whether searches that do not say how compare with every row.",
            read=_exact,
        ),
        SessionSetting(
            name="application_name",
            default="",
            default_in_words="empty",
            allowed=f"a text of at most {limits.NAME_BYTES_MAX} printable bytes",
            meaning="What the session is called in SHOW SESSIONS.",
            read=_application_name,
        ),
    )
}


def session_setting(name: str) -> SessionSetting:
    """Raises INVALID_SETTING with the nearest name."""
    if name not in SESSION_SETTINGS:
        raise unknown_setting(name, SESSION_SETTINGS)
    return SESSION_SETTINGS[name]


# --- of a server -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """One word of the command line; `None` is a default that depends on the machine, or nothing."""

    name: str
    default: SettingValue | None
    meaning: str


SERVER_SETTINGS: dict[str, ServerSetting] = {
    setting.name: setting
    for setting in (
        ServerSetting("data", None, "The data folder."),
        ServerSetting("cores", None, "Processes that serve, one for each processor by default."),
        ServerSetting("host", "127.0.0.1", "The address to listen on."),
        ServerSetting("port", 5050, "The TCP port to listen on; 0 takes a free one."),
        ServerSetting("builders", None, "Builders at work at a time, one for each core by default."),
        ServerSetting(
            "builder_memory_mib",
            0,
            "Memory that each core's builder of segments may take, in MiB; 0, the default, sets no bound.",
        ),
        ServerSetting(
            "hung_after_s",
            limits.HUNG_AFTER_S,
            "Seconds without a sign of life after which a core is killed and started anew.",
        ),
        ServerSetting(
            "archive_dir",
            None,
            "Keep the log in this folder when it is needed no more, so that any moment can be restored.",
        ),
    )
}

# The limits that a request may meet, as `limits.k_max` and so on.
SHOWN_LIMITS: dict[str, str] = {
    "NAME_BYTES_MAX": "Bytes of the name of a collection, alias or field.",
    "ID_BYTES_MAX": "UTF-8 bytes of an id that is a text.",
    "DIM_MAX": "Dimensions of a vector.",
    "COORDINATE_MAX": "A coordinate of a vector, without its sign.",
    "COORDINATE_MIN": "At least, the largest coordinate of a vector that is not zero, without its sign.",
    "PAYLOAD_BYTES_MAX": "Bytes of one row's payload.",
    "PAYLOAD_KEYS_MAX": "Keys of one row's payload.",
    "PAYLOAD_DEPTH_MAX": "Maps and lists within each other in a payload.",
    "FIELD_INDEXES_MAX": "Indexes of fields of one collection.",
    "K_MAX": "Rows that a search may ask for.",
    "EF_MAX": "Candidates that a segment may give to the exact ranking.",
    "QUERIES_MAX": "Query vectors in one request.",
    "SEARCH_ROWS_MAX": "Query vectors in one request × rows that each asks for.",
    "SCAN_ROWS_MAX": "Rows of a SELECT without a vector.",
    "BATCH_ROWS_MAX": "Rows of one insert, upsert or delete.",
    "PARTITIONS_MAX": "Partitions of one collection.",
    "PARTITION_ROWS_MAX": "Rows of one partition, deleted ones that were not compacted included.",
    "STATEMENT_BYTES_MAX": "Bytes of a statement's text.",
    "STATEMENT_TOKENS_MAX": "Words and signs of a statement; a written-out vector is one, and so is a list of rows.",
    "STATEMENT_VALUES_MAX": "Values in written-out rows of VALUES and lists of IN.",
    "STATEMENT_NUMBERS_MAX": "Numbers in written-out vectors of a statement.",
    "STATEMENT_DEPTH_MAX": "Parentheses, NOTs and lists within each other in a statement.",
    "PARAMETERS_MAX": "Parameters of a statement.",
    "PARAMETER_ITEMS_MAX": "Values of all parameters, those in lists and maps counted.",
    "LIST_ITEMS_MAX": "Values of a list that is compared with, as in `x IN $1`.",
    "TEXT_BYTES_MAX": "UTF-8 bytes of a text that a statement gives or makes.",
    "PATTERN_CHARS_MAX": "Characters of a pattern of LIKE.",
    "ROW_WORK_MAX": "Steps of work on the texts of one row: their bytes × the characters of patterns.",
    "ANSWER_BYTES_MAX": "Bytes of the payloads, vectors and texts of one answer.",
    "PREPARED_MAX": "Prepared statements that a connection keeps, by name and by number each.",
    "PREPARED_CHARS_MAX": "Characters of their texts together, by name and by number each.",
    "REQUEST_BYTES_MAX": "Bytes of a request that brings no rows.",
    "FRAME_BYTES_MAX": "Bytes of one message.",
    "REQUESTS_IN_FLIGHT_MAX": "Requests of one connection under way at once; beyond it the connection is not read.",
    "CONNECTIONS_MAX": "Connections of a server.",
}
