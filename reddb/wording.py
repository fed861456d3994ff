"""How numbers and values stand in a sentence."""

from __future__ import annotations

_SHOWN_CHARS = 100


def counted(number: int, noun: str) -> str:
    """`1 row`, `1,234 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown(value: object) -> str:
    """Any value in a message, cut to 100 characters. Raises nothing, whatever its `repr` does."""
    try:
        text = repr(value)
    except Exception:  # an integer of more digits than Python writes, a list in itself, a class of the user's
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else of_type(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def of_type(value: object) -> str:
    """`a value of the type Decimal`."""
    return f"a value of the type {type(value).__name__}"
