"""The words and quantities of a scenario: PackML names, times in ns, windows, times of day."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator

SECOND = 1_000_000_000

STATES = {
    "Clearing": 1,
    "Stopped": 2,
    "Starting": 3,
    "Idle": 4,
    "Suspended": 5,
    "Execute": 6,
    "Stopping": 7,
    "Aborting": 8,
    "Aborted": 9,
    "Holding": 10,
    "Held": 11,
    "Unholding": 12,
    "Suspending": 13,
    "Unsuspending": 14,
    "Resetting": 15,
    "Completing": 16,
    "Complete": 17,
}
"""PackML state numbers (ISA-TR88.00.02 as cited in OPC 30050)."""

MODES = {"Production": 1, "Maintenance": 2, "Manual": 3}
"""PackML unit mode numbers."""


def _nanoseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a time must be a number of seconds")  # noqa: TRY004 - pydantic turns ValueError into a located error
    exact = Decimal(str(value)) * SECOND
    if not exact.is_finite():
        raise ValueError("a time must be a number of seconds")
    if exact != exact.to_integral_value():
        raise ValueError("a time may not be finer than a nanosecond")
    if exact < 0:
        raise ValueError("a time must not be negative")
    return int(exact)


def _positive(value: int) -> int:
    if value <= 0:
        raise ValueError("must be longer than 0 s")
    return value


def _state(value: object) -> int:
    if value not in STATES:
        raise ValueError(f"unknown state {value!r}: one of {', '.join(STATES)}")
    return STATES[str(value)]


def _mode(value: object) -> int:
    if value not in MODES:
        raise ValueError(f"unknown mode {value!r}: one of {', '.join(MODES)}")
    return MODES[str(value)]


def _clock_time(value: object) -> time:
    try:
        return time.fromisoformat(value)  # type: ignore[arg-type]  # a wrong type is one of the mistakes told below
    except (TypeError, ValueError):
        raise ValueError(f'{value!r} is no time of day; write it quoted, like "06:00"') from None


def _utc(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise ValueError("epoch must be a time like 2026-10-25T04:50:00Z")  # noqa: TRY004 - see above
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {value!r}") from None
    return value


def _window(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] >= value[1]:
        raise ValueError("a window must end after it begins")
    return value


def _apart(value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    for before, after in pairwise(value):
        if after[0] < before[1]:
            raise ValueError("windows must be in order and must not overlap")
    return value


Instant = Annotated[int, BeforeValidator(_nanoseconds)]
Span = Annotated[int, BeforeValidator(_nanoseconds), AfterValidator(_positive)]
State = Annotated[int, BeforeValidator(_state)]
Mode = Annotated[int, BeforeValidator(_mode)]
ClockTime = Annotated[time, BeforeValidator(_clock_time)]
Window = Annotated[tuple[Instant, Instant], AfterValidator(_window)]
Windows = Annotated[tuple[Window, ...], AfterValidator(_apart)]
Epoch = Annotated[datetime, BeforeValidator(_utc)]
ZoneName = Annotated[str, AfterValidator(_zone)]
