"""The shift calendar of a scenario in UTC: boundaries are local wall-clock times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from simulators.timed import Shifted, Timed
from simulators.vocabulary import SECOND


def shift_windows(scenario: Shifted) -> list[tuple[str, int, int]]:
    """Give the shifts' occurrences as (name, begin, end) in ns since the epoch, clipped to the scenario, in order.

    Boundaries are local wall-clock times: an ambiguous one is its first occurrence unless the shift says otherwise, one that does not exist (spring) is the
    first instant after the hole.
    """
    zone, found = ZoneInfo(scenario.time_zone), list[tuple[str, int, int]]()
    first = scenario.epoch.astimezone(zone).date() - timedelta(days=1)
    days = scenario.length // (86_400 * SECOND) + 3
    for day in (first + timedelta(days=number) for number in range(days)):
        for name, shift in scenario.shifts.items():
            last = day if shift.end > shift.start else day + timedelta(days=1)
            fold = int(shift.dst == "second")
            begin = _utc(datetime.combine(day, shift.start), zone, fold)
            end = _utc(datetime.combine(last, shift.end), zone, fold)
            window = max(_since(scenario, begin), 0), min(_since(scenario, end), scenario.length + 1)
            if window[0] < window[1]:
                found.append((name, *window))
    return sorted(found, key=lambda window: window[1])


def _utc(local: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    utc = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if utc.astimezone(zone).replace(tzinfo=None) == local:
        return utc
    # A time in the spring hole: fold=0 uses the offset before it, which lands just as far behind the hole's end as `local` is
    # behind its begin; the hole ends where the later offset begins.
    later = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    low, high = min(utc, later), max(utc, later)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _since(scenario: Timed, utc: datetime) -> int:
    return (utc - scenario.epoch) // timedelta(microseconds=1) * 1000
