"""The facts of a shift report, from the books alone: states, counts against the target, downtimes, OEE, alarms, gaps, and how complete all that is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from edge_agent.consumer import oee
from edge_agent.consumer.completeness import Proof, proofs
from edge_agent.consumer.database import Database
from edge_agent.consumer.oee import Figures, Unit
from edge_agent.consumer.timeline import Segment
from edge_agent.model.errors import EdgeAgentError


class Window(msgspec.Struct, frozen=True):
    """What is reported: a name, two times in UTC microseconds, the time zone it is shown in. ``over``: it has ended."""

    title: str
    begin: int
    end: int
    tz: str = "UTC"
    shift: str | None = None
    order: str | None = None
    over: bool = True

    @property
    def zone(self) -> ZoneInfo:
        """The zone; UTC where its name says nothing here."""
        try:
            return ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo("UTC")


class Stop(msgspec.Struct, frozen=True):
    """One cause of standstill: how often and how long inside the window."""

    cause: str
    category: str
    times: int
    seconds: float


class Alarm(msgspec.Struct, frozen=True):
    """An alarm in the window; ``cleared`` None: it still stands."""

    alarm_id: str
    message: str
    raised: int | None
    cleared: int | None
    first_out: bool


class Gap(msgspec.Struct, frozen=True):
    """When nothing, or not everything, was seen."""

    reason: str
    device: str | None
    begin: int
    end: int
    lost: str


class OrderLine(msgspec.Struct, frozen=True):
    """An order that was on the unit in the window, with what it made in it."""

    order: str
    product: str | None
    planned: float | None
    total: float
    good: float
    scrap: float


class Report(msgspec.Struct, frozen=True):
    """Everything that the page shows."""

    unit: Unit
    window: Window
    figures: Figures
    segments: tuple[Segment, ...]
    produced: tuple[tuple[int, float], ...]
    """The running sum of what was produced, at each time at which it grew."""
    target: float | None
    stops: tuple[Stop, ...]
    alarms: tuple[Alarm, ...]
    gaps: tuple[Gap, ...]
    orders: tuple[OrderLine, ...]
    proof: Proof | None
    corrections: float
    late: float
    unassigned: float


def shift_window(database: Database, unit: Unit, shift: str, date: str | None) -> Window:
    """Return the window of the newest ``shift`` (or the one of the local ``date``). Raises EdgeAgentError."""
    known = oee.last_time(database, unit)
    rows = database.read(
        "SELECT shift_id, before_id, begins_us, ends_us, local_date, tz FROM shifts WHERE source = ? ORDER BY begins_us",
        (unit.source,),
    )
    for name, _, begins, ends, local, tz in reversed(rows):
        if name == shift and date in {None, local} and begins is not None and ends is not None:
            return Window(f"Shift {shift}, {local}", begins, min(ends, known), tz or "UTC", shift, over=ends <= known)
    for _, before, begins, _, local, tz in rows:  # the shift in which the consumer began: only its end was told
        if before == shift and date in {None, local} and begins is not None:
            first = database.read("SELECT MIN(at_us) FROM inbox WHERE source = ?", (unit.source,))[0][0]
            return Window(f"Shift {shift}, {local} (from the first event on)", min(first, begins), begins, tz or "UTC", shift)
    there = ", ".join(dict.fromkeys(f"{row[0]} of {row[4]}" for row in rows)) or "none yet"
    raise EdgeAgentError(f"nothing is known of shift {shift}{f' of {date}' if date else ''} on {unit.subject}; there are: {there}")


def order_window(database: Database, unit: Unit, order: str) -> Window:
    """Return the window of an order. Raises EdgeAgentError."""
    rows = database.read("SELECT started_us, ended_us FROM orders WHERE source = ? AND order_id = ?", (unit.source, order))
    if not rows or rows[0][0] is None:
        raise EdgeAgentError(f"nothing is known of the start of order {order} on {unit.subject}")
    started, ended = rows[0]
    zone = database.read("SELECT tz FROM shifts WHERE source = ? AND tz IS NOT NULL LIMIT 1", (unit.source,))
    end = ended if ended is not None else oee.last_time(database, unit)
    return Window(f"Order {order}", started, end, zone[0][0] if zone else "UTC", order=order, over=ended is not None)


def time_window(database: Database, unit: Unit, begin: int, end: int) -> Window:
    """Return the window between two times. Raises EdgeAgentError when there is nothing between them."""
    if end <= begin:
        raise EdgeAgentError("the end is not after the begin")
    zone = database.read("SELECT tz FROM shifts WHERE source = ? AND tz IS NOT NULL LIMIT 1", (unit.source,))
    known = oee.last_time(database, unit)
    return Window("Report", begin, max(min(end, known), begin + 1), zone[0][0] if zone else "UTC", over=end <= known)


def figures(database: Database, unit: Unit, window: Window, *, pri: float | None = None, planned: Collection[str] = ()) -> Figures:
    """Return the OEE of ``window``."""
    if window.order is not None:
        return oee.order(database, unit, window.order, pri=pri, planned=planned)
    return oee.window(database, unit, window.begin, window.end, shift=window.shift, pri=pri, planned=planned)


def compose(database: Database, unit: Unit, window: Window, *, pri: float | None = None, planned: Collection[str] = ()) -> Report:
    """Return the report of ``window``; ``pri`` is what a part should take in s, ``planned`` are reason codes of stops that are no loss."""
    told = figures(database, unit, window, pri=pri, planned=planned)
    orders = _orders(database, unit, window)
    about = proofs(database, window.end, unit.source)
    return Report(
        unit=unit,
        window=window,
        figures=told,
        segments=tuple(oee.states(database, unit, window.begin, window.end)),
        produced=tuple(_produced(database, unit, window)),
        target=_target(orders, told, window),
        stops=tuple(_stops(database, unit, window)),
        alarms=tuple(_alarms(database, unit, window)),
        gaps=tuple(_gaps(database, unit, window)),
        orders=tuple(orders),
        proof=about[0] if about else None,
        **_footnotes(database, unit, window),
    )


def _target(orders: Sequence[OrderLine], figures: Figures, window: Window) -> float | None:
    """Return what should have been made: the order's quantity, else what the ideal speed makes in the planned busy time."""
    if window.order is not None and orders and orders[0].planned:
        return orders[0].planned
    return figures.pbt_s / figures.pri_s if figures.pri_s else None


def _mine(window: Window) -> tuple[str, tuple[str, ...]]:
    """Return the condition by which a count belongs to the window, besides its time."""
    if window.order is not None:
        return "AND order_id = ? AND unassigned = 0", (window.order,)
    return ("AND shift = ?", (window.shift,)) if window.shift is not None else ("", ())


def _produced(database: Database, unit: Unit, window: Window) -> list[tuple[int, float]]:
    mine, values = _mine(window)
    rows = database.read(
        "SELECT at_us, delta FROM counts WHERE source = ? AND disposition = 'total' AND at_us >= ? AND at_us <= ? "  # noqa: S608
        f"AND COALESCE(mode, '') NOT IN ({', '.join('?' * len(oee.NOT_PRODUCTION))}) {mine} ORDER BY at_us, seq",
        (unit.source, window.begin, window.end, *sorted(oee.NOT_PRODUCTION), *values),
    )
    made, points = 0.0, [(window.begin, 0.0)]
    for at, delta in rows:
        made += float(delta)
        points.append((at, made))
    return points


def _stops(database: Database, unit: Unit, window: Window) -> list[Stop]:
    rows = database.read(
        "SELECT began_us, ended_us, category, reason_code, reason_text FROM downtimes "
        "WHERE source = ? AND began_us < ? AND COALESCE(ended_us, ?) > ? ORDER BY began_us",
        (unit.source, window.end, window.end, window.begin),
    )
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for began, ended, category, code, text in rows:
        cause = f"{code} {text or ''}".strip() if code is not None else category or "no reason"
        times, seconds = found.get((cause, category or ""), (0, 0.0))
        lasted = (min(ended or window.end, window.end) - max(began, window.begin)) / 1e6
        found[cause, category or ""] = times + 1, seconds + lasted
    stops = [Stop(cause, category, *figures) for (cause, category), figures in found.items()]
    return sorted(stops, key=lambda one: -one.seconds)


def _alarms(database: Database, unit: Unit, window: Window) -> list[Alarm]:
    rows = database.read(
        "SELECT alarm_id, message, raised_us, cleared_us, first_out FROM alarms WHERE source = ? AND COALESCE(raised_us, 0) < ? "
        "AND COALESCE(cleared_us, ?) >= ? ORDER BY raised_us",
        (unit.source, window.end, window.end, window.begin),
    )
    return [Alarm(name or "", message or "", raised, cleared, bool(first)) for name, message, raised, cleared, first in rows]


def _gaps(database: Database, unit: Unit, window: Window) -> list[Gap]:
    rows = database.read(
        "SELECT reason, device, COALESCE(begins_us, at_us), COALESCE(ends_us, at_us), lost FROM gaps "
        "WHERE source = ? AND COALESCE(begins_us, at_us) < ? AND COALESCE(ends_us, at_us) >= ? ORDER BY at_us",
        (unit.source, window.end, window.begin),
    )
    return [Gap(*row) for row in rows]


def _orders(database: Database, unit: Unit, window: Window) -> list[OrderLine]:
    mine, values = _mine(window)
    rows = database.read(
        "SELECT c.order_id, o.product, o.planned_qty, "  # noqa: S608 - no value in it
        "SUM(CASE WHEN c.disposition = 'total' THEN c.delta ELSE 0 END), SUM(CASE WHEN c.disposition = 'scrap' THEN c.delta ELSE 0 END), "
        "SUM(CASE WHEN c.disposition = 'rework' THEN c.delta ELSE 0 END), SUM(CASE WHEN c.disposition = 'good' THEN c.delta ELSE 0 END), "
        "SUM(CASE WHEN c.disposition = 'good' THEN 1 ELSE 0 END) "
        "FROM counts c LEFT JOIN orders o ON o.source = c.source AND o.order_id = c.order_id "
        f"WHERE c.source = ? AND c.order_id IS NOT NULL AND c.at_us >= ? AND c.at_us <= ? {mine.replace('AND ', 'AND c.')} "
        "GROUP BY c.order_id, o.product, o.planned_qty ORDER BY c.order_id",
        (unit.source, window.begin, window.end, *values),
    )
    found = []
    for name, product, planned, total, scrap, rework, good, goods in rows:
        fine = float(good) if goods else float(total) - float(scrap) - float(rework)
        found.append(OrderLine(name, product, None if planned is None else float(planned), float(total), fine, float(scrap)))
    return found


def _footnotes(database: Database, unit: Unit, window: Window) -> dict[str, float]:
    rows = database.read(
        "SELECT COALESCE(SUM(CASE WHEN delta < 0 THEN delta ELSE 0 END), 0), COALESCE(SUM(CASE WHEN late = 1 THEN delta ELSE 0 END), 0), "
        "COALESCE(SUM(CASE WHEN unassigned = 1 THEN delta ELSE 0 END), 0) FROM counts "
        "WHERE source = ? AND disposition = 'total' AND at_us >= ? AND at_us <= ?",
        (unit.source, window.begin, window.end),
    )
    corrections, late, unassigned = (float(one) for one in rows[0])
    return {"corrections": corrections, "late": late, "unassigned": unassigned}
