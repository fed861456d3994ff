r"""LIKE and ILIKE over texts, in a time that neither pattern nor text can make explode.

    %    any number of characters, also none
    _    one character
    \x   the character x, whatever it is

Most texts are compared by RE2, Arrow's: one look-up for a character as long as its cache of states holds, and never
more than characters of the text × characters of the pattern, in steps of some 15 ns. Where that product is large the
text is compared in arrays, piece by piece, which takes a hundredth of it.

Piece by piece is right, and linear in the text: a pattern is pieces of fixed lengths with `%` between them. The first
stands at the beginning and the last at the end, so each is compared at one place. Those between must follow each other
without overlap, and taking the leftmost place behind the piece before is enough: in any other way to place them, each
piece begins where this one has it or later, so whatever fits behind that one fits behind this one too (induction over
the pieces). No place is tried twice, nothing is taken back. A piece of m characters is looked for in n by at most m
comparisons of arrays of n; all pieces together have at most as many characters as the pattern, which is bounded by
`limits.PATTERN_CHARS_MAX`.

Invariants:
  * Python's `re`, which goes back and tries again, never meets a pattern of a user.
  * Both ways give the same truths; what is one letter for ILIKE, RE2 decides in both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reddb import errors, limits
from reddb.grammar import ast
from reddb.query.values import Values

_ANY: None = None  # in a piece: what `_` means
_LETTERS_END = 0x1F000  # behind the last letter that has a case
_RE2_STEPS_MAX = 2**16  # characters of a text × of the pattern that RE2 is given: a millisecond at worst

Piece: TypeAlias = tuple[str | None, ...]


class _Pattern(NamedTuple):
    """What stands between the `%`; and the regular expression of RE2."""

    pieces: tuple[Piece, ...]
    regex: str
    ignore_case: bool


def check_pattern(values: Values, pattern: str, node: ast.Node) -> None:
    """Raises LIMIT_EXCEEDED for a pattern that is too long, INVALID_VALUE for one that ends within an escape."""
    if len(pattern) > limits.PATTERN_CHARS_MAX:
        message = f"a pattern has at most {limits.PATTERN_CHARS_MAX} characters, not {len(pattern)}"
        raise values.error(errors.LIMIT_EXCEEDED, message, node)
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
        hint = r"\\ stands for one backslash, \% and \_ for the sign itself"
        raise values.error(errors.INVALID_VALUE, "the pattern ends with a backslash", node, hint)


def matches(texts: Any, pattern: str, *, ignore_case: bool) -> Any:
    """Which of the texts, an array (n,) or a scalar, match the whole pattern; null where a text is."""
    read = _read(pattern, ignore_case)
    if isinstance(texts, pa.Scalar):
        given = pa.array([texts.as_py()], pa.large_string())
        return matches(given, pattern, ignore_case=ignore_case)[0]
    is_long = pc.greater(pc.binary_length(texts), _RE2_STEPS_MAX // max(len(pattern), 1)).fill_null(False)
    if not pc.any(is_long).as_py():
        return pc.match_substring_regex(texts, read.regex, ignore_case=ignore_case)
    short = pc.if_else(is_long, pa.scalar("", texts.type), texts)
    truths = pc.match_substring_regex(short, read.regex, ignore_case=ignore_case)
    mine = [_is_match(text, read) for text in texts.filter(is_long).to_pylist()]
    return pc.replace_with_mask(truths, is_long, pa.array(mine, pa.bool_()))


def matching(names: list[str], pattern: str, *, ignore_case: bool) -> list[bool]:
    """Which of some names match."""
    found: list[bool] = matches(pa.array(names, pa.large_string()), pattern, ignore_case=ignore_case).to_pylist()
    return found


@lru_cache(64)
def _read(pattern: str, ignore_case: bool) -> _Pattern:
    """A pattern that `check_pattern` found sound."""
    assert len(pattern) <= limits.PATTERN_CHARS_MAX
    pieces: list[list[str | None]] = [[]]
    regex = []
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            pieces.append([])
            regex.append(".*")
        elif character == "_":
            pieces[-1].append(_ANY)
            regex.append(".")
        else:
            literal = next(characters) if character == "\\" else character
            pieces[-1].append(literal)
            regex.append(literal if literal.isalnum() else f"\\x{{{ord(literal):x}}}")
    return _Pattern(tuple(map(tuple, pieces)), rf"(?s)\A{''.join(regex)}\z", ignore_case)


# --- piece by piece ----------------------------------------------------------------------------------------


def _is_match(text: str, pattern: _Pattern) -> bool:
    characters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    first, *others = pattern.pieces
    if not others:
        return len(characters) == len(first) and _stands(characters, 0, first, pattern.ignore_case)
    *inner, last = others
    end = len(characters) - len(last)
    if end < len(first) or not (
        _stands(characters, 0, first, pattern.ignore_case) and _stands(characters, end, last, pattern.ignore_case)
    ):
        return False
    start = len(first)
    for piece in inner:
        found = _leftmost(characters[start:end], piece, pattern.ignore_case)
        if found is None:
            return False
        start += found + len(piece)
    return True


def _stands(characters: NDArray[np.uint32], at: int, piece: Piece, ignore_case: bool) -> bool:
    """Whether a piece stands at a place."""
    return _leftmost(characters[at : at + len(piece)], piece, ignore_case) == 0


def _leftmost(characters: NDArray[np.uint32], piece: Piece, ignore_case: bool) -> int | None:
    """Where a piece stands for the first time."""
    places = len(characters) - len(piece) + 1
    if places <= 0:
        return None
    stands = np.ones(places, np.bool_)
    for offset, literal in enumerate(piece):
        if literal is not None:
            here = characters[offset : offset + places]
            is_alike = here == ord(literal)
            for other in _others(literal) if ignore_case else ():
                is_alike |= here == other
            stands &= is_alike
    first = int(np.argmax(stands))
    return first if stands[first] else None


@lru_cache(4096)
def _others(letter: str) -> tuple[int, ...]:
    """The other characters that RE2 takes for this one where case is ignored."""
    near = [other for other in _by_case().get(letter.casefold(), ()) if other != letter]
    if not near:
        return ()
    alike = pc.match_substring_regex(pa.array(near), rf"(?s)\A\x{{{ord(letter):x}}}\z", ignore_case=True).to_pylist()
    return tuple(ord(other) for other, is_alike in zip(near, alike, strict=True) if is_alike)


@lru_cache(1)
def _by_case() -> dict[str, list[str]]:
    """Letters that might be alike, by what Python folds them to: more than RE2 takes for one."""
    letters: dict[str, list[str]] = {}
    for number in range(_LETTERS_END):
        letter = chr(number)
        if letter.lower() != letter.upper():
            letters.setdefault(letter.casefold(), []).append(letter)
    return {folded: alike for folded, alike in letters.items() if len(alike) > 1}
