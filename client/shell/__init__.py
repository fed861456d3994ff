"""The shell: statements in, results out, for a person at a terminal and for scripts.

    run          the call from the command line, exit codes
    session      what the shell knows between two statements; runs one, shows what came
    connection   the server or the folder behind it: cancelled, lost, opened again
    commands     the table of meta commands, and what a line of input is
    script       a text to statements and meta commands, with their lines
    terminal     the prompt: history, keys, banner; completion, names, highlighting help it
    formats      a result as table, vertical, csv, json, ndjson or arrow
    output       where results go: terminal, pager, pipe, file
    copying      rows to files and back; exporting, copy_files
    chart        distances as bars

Nothing of the prompt is loaded for a script.
"""
