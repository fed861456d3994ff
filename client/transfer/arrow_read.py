"""The rows of an arrow or parquet file as plain values.

An instant in nanoseconds is one in microseconds where nothing is lost, and refused otherwise, whether pandas is
installed or not.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from reddb.client.transfer.collection import PAGE_ROWS, Described
from reddb.client.transfer.formats import Form
from reddb.client.transfer.problem import TransferError
from reddb.client.transfer.values import is_pandas_index

if TYPE_CHECKING:
    import pyarrow


def arrow_rows(
    name: str, file: BinaryIO, form: Form, described: Described, tell: Callable[[str], None]
) -> Iterator[tuple[int, dict[str, Any], float]]:
    """Each row with its number, from 1, and the share of the file that is read with it.

    Nulls are left out, but for those of a field with a DEFAULT; a vector of numbers is an array, not a list.
    """
    import pyarrow

    if not file.seekable():
        file = io.BytesIO(file.read())
    number = 0
    try:
        names, batches = _batches(file, form)
        names = [described.column(column) for column in names]
        _check_columns(name, names)
        wanted = [column for column in names if not is_pandas_index(column) or column in described.fields]
        if len(wanted) < len(names):
            tell(f"{next(column for column in names if column not in wanted)}, pandas' index, was left out")
        for batch, share in batches:
            batch.validate(full=True)  # arrow ends the process where a damaged offset is followed
            for first in range(0, batch.num_rows, PAGE_ROWS):
                page = batch.rename_columns(names).select(wanted).slice(first, PAGE_ROWS)
                for row in _page_rows(page, described, f"{name}, row", number + 1):
                    number += 1
                    yield number, row, share
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # damage may look like any of them
        raise TransferError(f"{name} cannot be read: {' '.join(str(error).split())}") from error


def _batches(file: BinaryIO, form: Form) -> tuple[list[str], Iterable[tuple[pyarrow.RecordBatch, float]]]:
    """The columns' names, and the batches; an IPC file or a stream, as `--format arrow` writes it."""
    import pyarrow

    if form is Form.PARQUET:
        import pyarrow.parquet

        parquet = pyarrow.parquet.ParquetFile(file)
        total = max(1, -(-parquet.metadata.num_rows // PAGE_ROWS))
        shares = (number / total for number in range(1, total + 1))
        return parquet.schema_arrow.names, zip(parquet.iter_batches(PAGE_ROWS), shares, strict=False)
    try:
        whole = pyarrow.ipc.open_file(file)
    except pyarrow.ArrowInvalid:
        file.seek(0)
        stream = pyarrow.ipc.open_stream(file)
        return stream.schema.names, ((batch, 0.0) for batch in stream)
    count = whole.num_record_batches
    return whole.schema.names, ((whole.get_batch(number), (number + 1) / count) for number in range(count))


def _check_columns(name: str, columns: list[str]) -> None:
    if twice := {column for column in columns if columns.count(column) > 1}:
        raise TransferError(f"{name}: two columns are called {min(twice)!r}")
    if missing := {"id", "vector"} - set(columns):
        raise TransferError(f"{name}: there is no column {min(missing)!r}", f"there are {', '.join(columns)}")


def _page_rows(page: pyarrow.RecordBatch, described: Described, where: str, first: int) -> list[dict[str, Any]]:
    columns = {}
    for column in page.schema.names:
        values = _in_microseconds(page.column(column), f"{column!r}", where, first)
        columns[column] = _vectors(values) if column == "vector" else values.to_pylist()
    return [
        {
            column: value
            for column, value in zip(columns, row, strict=True)
            if value is not None or column in described.defaults
        }
        for row in zip(*columns.values(), strict=True)
    ]


def _vectors(column: pyarrow.Array) -> list[Any]:
    """Arrays of the numbers of lists, for a list of Python's would cost a hundred times as much."""
    import pyarrow

    values = []
    for scalar in column:
        numbers = getattr(scalar, "values", None)  # of a list; None of a null and of a text, a function of a map
        if isinstance(numbers, pyarrow.Array):
            values.append(numbers.to_numpy(zero_copy_only=False))
        else:
            values.append(scalar.as_py())
    return values


def _in_microseconds(column: pyarrow.Array, name: str, where: str, first: int) -> pyarrow.Array:
    import pyarrow

    wanted = _microseconds(column.type)
    if wanted == column.type:
        return column
    try:
        return column.cast(wanted)
    except pyarrow.ArrowInvalid:
        for place in range(len(column)):
            try:
                column.slice(place, 1).cast(wanted)
            except pyarrow.ArrowInvalid as error:
                message = f"{where} {first + place}: {name} has digits beyond microseconds, which would be lost"
                raise TransferError(message, "round it: column.dt.round('us')") from error
        raise


def _microseconds(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type with microseconds in place of nanoseconds, however deep it lies."""
    import pyarrow

    if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
        return pyarrow.timestamp("us", kind.tz)
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        inner = kind.value_field.with_type(_microseconds(kind.value_type))
        return pyarrow.list_(inner) if pyarrow.types.is_list(kind) else pyarrow.large_list(inner)
    if pyarrow.types.is_struct(kind):
        return pyarrow.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if pyarrow.types.is_dictionary(kind):
        return _microseconds(kind.value_type)
    return kind
