"""The result of a statement as a file: its columns as they are, in the formats of a copy."""

from __future__ import annotations

from typing import BinaryIO

from reddb.client.rows import Result
from reddb.client.shell.formats import render, to_csv, to_table
from reddb.client.transfer.files import compressed
from reddb.client.transfer.formats import FileFormat, Form
from reddb.client.transfer.write import arrow_writer


def write_result(file: BinaryIO, form: FileFormat, result: Result) -> None:
    """Write it. Raises Complaint for what the format cannot hold."""
    if form.is_text:
        text = to_csv(result.columns, result, form.delimiter) if form.form is Form.CSV else render(result, "ndjson")
        assert isinstance(text, str)
        with compressed(file, form) as out:
            out.write(text.encode())
        return
    table = to_table(result)
    with arrow_writer(file, form.form, table.schema) as write:
        for batch in table.to_batches():
            write(batch)
