"""What a file is, told by its suffix in any case, or by a word like it.

    .csv                 id, vector, the declared fields, and `payload`: a JSON map of the other keys
    .tsv                 the same with tabs for commas
    .ndjson, .jsonl      an object a line: id, vector, and the keys of the payload
    .arrow, .parquet     the columns of csv, typed

The first four may be compressed by gzip: `.csv.gz`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from reddb.client.transfer.problem import TransferError


class Form(StrEnum):
    """How rows are written."""

    CSV = "csv"
    NDJSON = "ndjson"
    ARROW = "arrow"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A form with its details; `delimiter` is of csv alone."""

    form: Form
    delimiter: str = ","
    is_compressed: bool = False

    @property
    def is_text(self) -> bool:
        return self.form in (Form.CSV, Form.NDJSON)


_BY_SUFFIX = {
    "csv": FileFormat(Form.CSV),
    "tsv": FileFormat(Form.CSV, "\t"),
    "ndjson": FileFormat(Form.NDJSON),
    "jsonl": FileFormat(Form.NDJSON),
    "arrow": FileFormat(Form.ARROW),
    "parquet": FileFormat(Form.PARQUET),
}
KNOWN = "csv, tsv, ndjson, jsonl (each also with .gz), arrow and parquet"


def file_format(name: str, delimiter: str | None = None) -> FileFormat:
    """The format of a file of this name; a word like `csv` or `csv.gz` is one, too.

    Raises TransferError for a suffix that says nothing, and for a delimiter that cannot be one.
    """
    stem = name.lower()
    is_compressed = stem.endswith(".gz")
    suffix = stem.removesuffix(".gz").rpartition(".")[2]
    found = _BY_SUFFIX.get(suffix)
    if found is None:
        raise TransferError(f"the format of a file is told by its suffix, and {name!r} has none that is known", KNOWN)
    if is_compressed and not found.is_text:
        raise TransferError(f"{found.form} is compressed by itself", f"leave .gz away: {name[:-3]}")
    if delimiter is not None:
        if found.form is not Form.CSV:
            raise TransferError(f"a delimiter is a matter of csv, not of {found.form}")
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise TransferError(f"{delimiter!r} cannot be a delimiter", "it is one character, such as ';'")
        found = replace(found, delimiter=delimiter)
    return replace(found, is_compressed=is_compressed)
