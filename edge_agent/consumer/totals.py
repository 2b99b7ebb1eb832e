"""Counts kept true to their cumulative totals. Pure.

A count event carries ``delta`` and ``total``. While numbers are contiguous both say the same. Over a loss, a new epoch or a restored store
only the total knows what was made meanwhile: the difference is booked as a part of its own, marked ``reconciled``, and without
the order that nobody can name any more. What was booked of a counter is so always ``total - first total``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

Kind = Literal["told", "reconciled"]
_PLACES = Decimal("1e-9")


class Total(msgspec.Struct, frozen=True):
    """How far a counter is booked: its last ``value`` in ``epoch``; ``by_total``: the store was set back, so deltas may repeat what is booked."""

    epoch: str
    value: Decimal
    by_total: bool = False


class Part(msgspec.Struct, frozen=True):
    """An amount to book; ``reconciled`` is what only the total tells."""

    delta: Decimal
    kind: Kind


def amount(value: Any) -> Decimal:
    """Return a JSON number, or the text of one beyond 2^53, exactly. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no amount")  # noqa: TRY004 - whatever is wrong with an event is a ValueError
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        raise ValueError(f"{value!r} is no amount") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is no amount")
    return number


def count(was: Total | None, epoch: str, delta: Decimal, total: Decimal, *, retry: bool) -> tuple[Total, list[Part]]:
    """Return how far the counter is booked after a count event, and what to book.

    ``retry``: a dead letter that was sent again. The loss in its place moved the total on already, so what it tells now is taken out of there.
    """
    told = [Part(delta, "told")]
    if retry:
        return was or Total(epoch, total), [*told, Part(-delta, "reconciled")]
    if was is None or (was.epoch != epoch and not was.by_total and _is_fresh(was, delta, total)):
        return Total(epoch, total), told
    missing = _round(total - was.value - delta)
    return Total(epoch, total), [*told, Part(missing, "reconciled")] if missing else told


def lost(was: Total | None, epoch: str, before: Decimal, after: Decimal) -> tuple[Total, list[Part]]:
    """Return the same for a loss record that says where the counter stood ``before`` and ``after`` the numbers it covers."""
    start = was.value if was is not None and (was.by_total or was.epoch == epoch) else before
    missing = _round(after - start)
    return Total(epoch, after), [Part(missing, "reconciled")] if missing else []


def _is_fresh(was: Total, delta: Decimal, total: Decimal) -> bool:
    """Say whether a new epoch began its accumulator anew: from zero, or at least below what is booked. Nothing is ever taken back on a guess."""
    return _round(total - delta) == 0 or total < was.value


def _round(value: Decimal) -> Decimal:
    return value.quantize(_PLACES).normalize() + 0
