"""Values as JSON from which the same values come back.

An instant is {"$date": "2024-05-01T12:00:00+00:00"}, as MongoDB writes it; a map that looks so and is none is refused.
Integers have all their digits, floats and the float32 of vectors the shortest text that reads back as the same bits.
What JSON has no word for (NaN and the infinities) is refused on both ways, and so is an object with a key twice.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from reddb.client.transfer.values import instant

DATE = "$date"  # the one key of a map that stands for an instant
_INTEGER_CHARS_MAX = 20  # of 64 bits, with a sign


class NotJson(ValueError):
    """A text that is none. What is JSON and cannot be a value is another ValueError."""


def exact_json(value: Any) -> str:
    """A value of a payload in one line. Raises ValueError for what would not come back."""
    return plain_json(tagged(value))


def plain_json(value: Any) -> str:
    """A value that is tagged already."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def parse_json(text: str) -> Any:
    """The value. Raises NotJson, and ValueError for what no row can hold."""
    try:
        return json.loads(text, object_pairs_hook=_map, parse_int=_integer, parse_constant=_refuse_word)
    except json.JSONDecodeError as error:
        raise NotJson(f"this is no JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def vector_numbers(vector: NDArray[np.float32]) -> list[float]:
    """Numbers with as few digits as tell the float32 apart."""
    numbers = [float(str(number)) for number in vector]  # 0.1 would else be 0.10000000149011612
    if np.array_equal(np.array(numbers, np.float32), vector):
        return numbers
    return [float(number) for number in vector]  # rounded twice, by way of float64, a few come out as their neighbours


def tagged(value: Any) -> Any:
    """The value with its instants as maps. Raises ValueError for what would not come back."""
    if isinstance(value, dict):
        if len(value) == 1 and DATE in value:
            raise ValueError(f"is a map of {DATE} alone, which stands for an instant in JSON")
        return {key: tagged(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [tagged(inner) for inner in value]
    if isinstance(value, datetime):
        return {DATE: value.isoformat()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"is {value}, for which JSON has no word")
    return value


def _map(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    if len(made) == 1 and DATE in made:
        return instant(made[DATE])
    return made


def _integer(text: str) -> int:
    if len(text) > _INTEGER_CHARS_MAX:
        raise ValueError(f"an integer of {len(text)} digits is beyond 64 bits")
    return int(text)


def _refuse_word(word: str) -> NoReturn:
    raise NotJson(f"this is no JSON: {word} is no word of it")
