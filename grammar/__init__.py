"""The query language: text to syntax tree, syntax tree to text, and errors that point at the place.

    parse, parse_script    text to statements (ast.py holds the nodes); parse_condition, to that of a WHERE alone
    render                 a statement to canonical text
    split_statements       a script to the texts of its statements, for the shell
    excerpt                a span of the source as line, column and picture, for the stages after this one
    written_numbers        the numbers of a list, exactly; `integer_of` and `float_of` a single one,
                           `written_coordinates` each with its place
    lexical_spans          the keywords, names, strings, … of a text, finished or not, for colours
    MOMENTS                names that are a call without parentheses: current_timestamp, …
    keywords               the words of the language; `reserved_words` of them are names only in double quotes

May import: reddb.errors, reddb.limits, lark and numpy. It knows nothing of collections, columns and types.
"""

from reddb.grammar import ast
from reddb.grammar.language import MOMENTS, keywords, reserved_words
from reddb.grammar.parser import parse, parse_condition, parse_script, split_statements
from reddb.grammar.render import render
from reddb.grammar.spans import SpanKind, lexical_spans
from reddb.grammar.syntax_errors import excerpt, located
from reddb.grammar.written import float_of, integer_of, is_written_vector, written_coordinates, written_numbers

__all__ = [
    "MOMENTS",
    "SpanKind",
    "ast",
    "excerpt",
    "float_of",
    "integer_of",
    "is_written_vector",
    "keywords",
    "lexical_spans",
    "located",
    "parse",
    "parse_condition",
    "parse_script",
    "render",
    "reserved_words",
    "split_statements",
    "written_coordinates",
    "written_numbers",
]
