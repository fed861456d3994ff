"""Every bound of the system, with its unit, its arithmetic and what happens beyond it.

Invariant: relations between bounds are asserted here, at import, so that a changed number that breaks
another one cannot start.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- names, ids, vectors, payloads: beyond it the request is refused ---------------------------------------
NAME_BYTES_MAX = 63  # as in PostgreSQL; a collection name is also shown in tables, so it stays short
ID_BYTES_MAX = 255  # UTF-8 bytes of a string id; its length is stored in one u16 beside a marker
ID_INT_MIN = -(2**63)
ID_INT_MAX = 2**63 - 1
COORDINATE_MAX = 1e15  # beyond it the square of a length of 8192 coordinates does not fit float32
COORDINATE_MIN = 1e-15  # the largest coordinate of a vector that is not zero: below it squares vanish in float32
PATTERN_CHARS_MAX = 256  # of LIKE: each costs a comparison with every character of a text
DIM_MAX = 8192  # 32 KiB a row; above the largest embedding model in common use (4096)
PAYLOAD_BYTES_MAX = 64 * KIB  # MessagePack bytes of one row's payload
PAYLOAD_KEYS_MAX = 256
PAYLOAD_DEPTH_MAX = 16
COLLECTION_BYTES_MAX = 16 * MIB  # MessagePack bytes of a collection's settings, fields, defaults and indexes
FIELD_INDEXES_MAX = 64  # of one collection; each is written anew with every segment

# --- searches ----------------------------------------------------------------------------------------------
K_MAX = 10_000  # rows a search may ask for; the client pages or exports beyond it
K_DEFAULT = 10  # rows of a search whose statement has no LIMIT
EF_MAX = 100_000  # candidates re-ranked per segment
QUERIES_MAX = 1_000  # query vectors in one search request
SCAN_ROWS_MAX = 10_000  # rows of a SELECT without a vector
PIECE_WORK_MAX = 8 * MIB  # steps of work (`reddb.query.pieces`) over rows at once: about 4 ms
ROW_WORK_MAX = 128 * MIB  # over one row: 64 KiB of text by patterns of together 2,048 characters
SEARCH_ROWS_MAX = 1_048_576  # queries of one search × rows that each asks for
ANSWER_BYTES_MAX = 64 * MIB  # vectors, payloads and texts of one answer
GROUPS_MAX = 1_048_576  # groups of one SELECT, or distinct values that one count tells apart: 8 MiB a key

# --- writes ------------------------------------------------------------------------------------------------
BATCH_ROWS_MAX = 65_536  # rows of one insert, upsert or delete; one WAL record, so all or nothing
SEGMENT_ROWS = 65_536  # rows that one growing segment has room for: a batch always fits into an empty one
SEGMENT_PAYLOAD_BYTES = 256 * MIB  # payloads of one growing segment: address space, not memory
GROWING_SEGMENTS_MAX = 64  # 4,194,304 rows that wait to be sealed; beyond it writes wait
PARTITIONS_MAX = 64  # of one collection: one for each core that there may be
SEGMENTS_MAX = 1_024  # segments of one partition; merging keeps them to a few dozen
PARTITION_ROWS_MAX = 2**26  # 67,108,864: 8 bytes of address space each for tombstones
SCANNED_ROWS = 2048  # a segment or a filter's matches of so few are scanned: that costs what a scan of codes does
FLAT_TURBO_ROWS = 131_072  # up to here a scan of turbo codes beats every graph that was measured at recall 0.99
MERGE_SEGMENTS_MIN = 4  # neighbours of about one size that are merged into one
DEAD_SHARE_MAX = 0.2  # of a sealed segment's rows; beyond it the segment is written anew without them

# Of the least memory that a control group of the server may have, this share is kept free of growing rows.
MEMORY_FREE_SHARE = 4
MEMORY_FREE_MIN, MEMORY_FREE_MAX = 128 * MIB, 512 * MIB  # a builder that seals takes about 100 MiB
RECOVERY_FREE_SHARE = 4  # of what is kept free, while rows come from the log that had been taken before

TRANSACTION_STATEMENTS_MAX = 10_000  # between BEGIN and COMMIT
TRANSACTION_ROWS_MAX = BATCH_ROWS_MAX  # rows that its statements write: what is left of them is one batch of one record
TRANSACTION_BYTES_MAX = 128 * MIB  # of those statements as they go to the owner, in one frame
RETURNING_BYTES_MAX = 128 * MIB  # vectors and payloads that RETURNING gives, which may come from another core

# --- time --------------------------------------------------------------------------------------------------
DURATION_US_MAX = 36_525 * 86_400 * 1_000_000  # a hundred years

# --- statements --------------------------------------------------------------------------------------------
# Together they bound what one statement can hold up others for: each is read in 50 ms.
STATEMENT_BYTES_MAX = 2 * MIB
STATEMENT_TOKENS_MAX = 1_280  # words and signs; a vector is one, and so are all the written-out rows of VALUES
STATEMENT_VALUES_MAX = 4_096  # in written-out rows of VALUES and lists of IN
STATEMENT_NUMBERS_MAX = 262_144  # in written-out vectors: 64 rows of 4096
STATEMENT_DEPTH_MAX = 64  # nested parentheses, NOTs and lists
PARAMETERS_MAX = 65_535
PARAMETER_ITEMS_MAX = 69_632  # values of all parameters, those in lists and maps too: a full batch of ids, and more
LIST_ITEMS_MAX = 16_384  # of a list that is compared with, as in `x IN $1`: each is bound and hashed, in 1 µs
TEXT_BYTES_MAX = 256 * KIB  # of a text that a statement gives or makes: four times what a payload holds
STATEMENT_CACHE_BYTES = 16 * MIB  # of statements that a process keeps as they were parsed
TREE_BYTES_PER_CHAR = 96  # of a statement that was parsed, for each character; a list of numbers in IN takes 54
STATEMENT_CACHE_TEXT_BYTES_MAX = 4 * KIB  # longer texts hold literals and are not seen twice
STATEMENT_TIMEOUT_MS_MAX = 2**31 - 1  # 24 days
PREPARED_MAX = 1_024  # prepared statements of one connection, by name and by number each
PREPARED_CHARS_MAX = 16 * MIB  # of their texts, by name and by number each: the longest statement fits
STATEMENT_SHOWN_CHARS = 200  # of a running query's text, in SHOW QUERIES

# --- wire --------------------------------------------------------------------------------------------------
FRAME_HEADER_BYTES = 16
FRAME_BYTES_MAX = 256 * MIB  # body of a frame: 65,536 rows of 768 float32 are 192 MiB
FRAME_BYTES_MAX_BEFORE_HELLO = 4 * KIB  # a stranger may make us hold this much
REQUEST_BYTES_MAX = 32 * MIB  # body of a request that brings no rows: text, parameters, ids, query vectors
RESULT_PART_ROWS = 1_024  # rows of one frame of a large result
REQUESTS_IN_FLIGHT_MAX = 1_024  # per connection; beyond it the server stops reading that connection
WRITE_BUFFER_BYTES_MAX = 256 * KIB  # unsent bytes of one connection, beyond which the server stops reading it
CONNECTIONS_MAX = 4_096  # per server; beyond it a connection is told so and closed
HELLO_TIMEOUT_S = 10.0  # from accept to a complete Hello

# --- memory of buffers, caches and queues (`reddb.accountant`) ----------------------------------------------
MACHINE_BUFFER_PART = 4  # one part in so many of the machine's or the container's memory; the others are for rows
CORE_BUFFER_BYTES_MAX = 1536 * MIB  # of one core: so that the largest frame fits into each pool that it passes
CORE_BUFFER_BYTES_MIN = 64 * MIB
SMALL_FRAME_BYTES = 16 * KIB  # up to here no frame waits for others: 4,096 half ones are 64 MiB
PREPARED_ENTRY_BYTES = 256  # of a prepared statement in each session that has it
REQUEST_BYTES = 2 * KIB  # what a request takes beside its body: its message, its task, its place in the registry
CONTAINER_BYTES = 72  # of an empty list or map, which is one byte on the wire
FRAME_WAIT_S = 5.0  # how long a large frame waits for memory before BUSY
FRAME_BYTES_PER_S_MIN = 4 * MIB  # of a large frame while others wait for memory; a slower one is given up
FRAME_STALLED_S = 30.0  # a large frame of which nothing came for so long is given up, whether others wait or not
FRAME_WATCH_S = 0.5  # between two looks at the large frames that are coming in
UNREAD_TIMEOUT_S = 30.0  # without reading, until a client that holds memory which others need is cut off
UNCOUNTED_ROWS = 64  # results of so few rows are made in one turn, and are at most some MiB
VALUES_PER_BYTE = 4  # bytes of a payload's values for each byte of the payload, about
DECODED_NODES_MAX = 16_384  # values of a body that are looked at before it is decoded; the rest is taken for the worst

# --- write-ahead log ---------------------------------------------------------------------------------------
WAL_SEGMENT_BYTES = 64 * MIB  # a new file is begun at the first record that starts beyond it
WAL_PREALLOCATE_BYTES = 4 * MIB  # reserved ahead, so that most syncs need not write a new file size
WAL_RECORD_BYTES_MAX = 1 * GIB
WAL_FILE_BYTES_MAX = 2 * GIB  # a group that would make a file longer is refused: files are read whole

# --- files that others may have made: a larger one is refused, unread ---------------------------------------
CATALOG_BYTES_MAX = 1 * GIB
BACKUP_BYTES_MAX = 64 * MIB  # of the file that describes a backup: half a million files
MANIFEST_BYTES_MAX = 1 * MIB  # 1,024 segments take 40 KiB

# --- processes ---------------------------------------------------------------------------------------------
CORES_MAX = 64
CONTROL_FRAME_BYTES_MAX = 64 * MIB  # what one process tells another at once
PEER_ANSWER_S = 1.0  # how long a core has to say what it knows; one that does not is named in the answer
READY_TIMEOUT_S = 0.5  # how long a request waits for a recovering partition before NOT_READY
DRAIN_TIMEOUT_S = 8.0  # how long a stopping core waits for its clients; Docker kills after 10 s
RESTART_BACKOFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)  # before the n-th restart in quick succession
BUILDER_IDLE_S = 10.0  # a builder without a job ends, for it holds memory
SETTLE_POLL_S = 0.02  # between two looks whether writes let a segment be frozen, or cores let go of an old one
ALIVE_S = 1.0  # between two signs of life of a core
HUNG_AFTER_S = 30  # without one, until a core is killed and started anew, unless the command line says otherwise
REOPEN_S = 1.0  # until a partition that lacked memory or descriptors to be opened is tried again
PROGRESS_S = 0.25  # between two reports of how far a recovery has come
MEMORY_DEATHS_MAX = 3  # of one core in quick succession, killed for want of memory, until it only reads
RESTART_FORGIVEN_AFTER_S = 30.0  # a core that lived this long starts the row above anew

assert BATCH_ROWS_MAX <= SEGMENT_ROWS
assert COLLECTION_BYTES_MAX <= CONTROL_FRAME_BYTES_MAX // 2, "every core must be told of a collection"
assert GROWING_SEGMENTS_MAX * SEGMENT_ROWS < PARTITION_ROWS_MAX
assert SEGMENT_ROWS % 32 == 0, "FastScan packs rows in blocks of 32"
assert BATCH_ROWS_MAX * 512 * 4 <= FRAME_BYTES_MAX, "a full batch of 512-d rows must fit a frame"
assert SEGMENT_PAYLOAD_BYTES >= FRAME_BYTES_MAX, "the payloads of a batch must fit an empty segment"
assert max(TRANSACTION_BYTES_MAX, RETURNING_BYTES_MAX) <= FRAME_BYTES_MAX // 2, "they go to another core in one frame"
assert WAL_RECORD_BYTES_MAX >= FRAME_BYTES_MAX, "what a frame brings must fit a record"
assert DIM_MAX * (2 * COORDINATE_MAX) ** 2 < 3e38, "a squared l2 distance must fit float32"
assert WAL_PREALLOCATE_BYTES <= WAL_SEGMENT_BYTES
assert WAL_SEGMENT_BYTES + WAL_RECORD_BYTES_MAX + WAL_PREALLOCATE_BYTES <= WAL_FILE_BYTES_MAX
assert STATEMENT_BYTES_MAX <= PREPARED_CHARS_MAX
assert QUERIES_MAX * DIM_MAX * 4 + STATEMENT_BYTES_MAX // 4 <= REQUEST_BYTES_MAX, "a full batch of queries must fit"
assert PARAMETER_ITEMS_MAX >= BATCH_ROWS_MAX + STATEMENT_VALUES_MAX
assert BATCH_ROWS_MAX * (ID_BYTES_MAX + 8) <= REQUEST_BYTES_MAX, "the ids of a full batch must fit"
assert FRAME_BYTES_MAX_BEFORE_HELLO < FRAME_BYTES_MAX <= 2**32 - 1
