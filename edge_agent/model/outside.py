"""What comes from outside: JSON that anybody may have written, or a disk may have changed."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def from_json(payload: bytes, shape: type[T]) -> T:
    """Return what ``payload`` says. Raises ValueError for whatever is wrong with it.

    Not only msgspec's own errors, which are ValueErrors: text that is no UTF-8 is a UnicodeDecodeError, and nesting a RecursionError.
    """
    try:
        return msgspec.json.decode(payload, type=shape)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
