"""What lies on disk and in shared memory: the catalog, the data folder, the write-ahead log, the growing rows.

May import the floor only; knows nothing of indexes, statements, sockets or processes.
"""
