"""Rows of a collection to a file and back, exactly: what is read is what was written, or the copy is refused.

    formats       what a file is, told by its name: csv, ndjson, arrow, parquet; delimiter, compression
    collection    what a copy must know of a collection, and its rows, page by page
    write, read   rows to bytes, bytes to batches of rows; each knows every format
    csv_text      the text of csv: cells that are NULL, and cells that are empty
    json_text     values as JSON from which they come back: instants, integers, floats to the last bit
    values        what a field's value may be in a file, and what it is in a row
    files         a file that is there whole or not at all
    problem       what is refused, with its place

Nothing here knows of terminals: who copies shows how far it is and what went wrong.
"""
