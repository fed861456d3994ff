"""A partition: one writer, and readers on every core over the memory and the files that it publishes.

writer        operations to durable, visible rows; the only one that changes anything
publication   sealing and merging: how the list of segments changes, beside writes and reads
jobs          the long work of it, for a builder process: files, codes, graphs
policy        which job is due
encoder       turbo codes of growing rows
reader        what a core sees of it; view: one moment of that; search: the strategies
"""
