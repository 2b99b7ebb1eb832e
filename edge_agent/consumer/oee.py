"""OEE per ISO 22400-2 from the events alone, as the OPC UA companion specifications cite it (OPC 40501-1, Annex C).

::

    availability  = APT / PBT            actual production time / planned busy time
    effectiveness = PRI * PQ / APT       planned run time per item, produced quantity
    quality ratio = GQ / PQ              good quantity
    OEE           = availability * effectiveness * quality ratio

APT is the time in category ``running`` in a production mode while an order was on the unit; PBT the time of the orders without what the caller
calls planned. PRI is master data: given, or from the table ``ideals``, or from the design speed that the machine told.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import msgspec

from edge_agent.consumer import timeline
from edge_agent.consumer.database import Database
from edge_agent.consumer.timeline import Seen, Segment, Span
from edge_agent.model.errors import EdgeAgentError

NOT_PRODUCTION = frozenset({"Maintenance", "Manual", "Setup"})
"""Modes whose running time and counts are nobody's production (PackML, OPC 40001-1 OperationMode)."""

_PER = {"MIN": 60.0, "2M": 60.0, "HUR": 3600.0, "SEC": 1.0, "C26": 0.001}


class Figures(msgspec.Struct, frozen=True):
    """Times in s, quantities in pieces. ``bridged_s`` is the part of APT that nobody saw; ``unknown_s`` counts as not running."""

    pbt_s: float
    apt_s: float
    bridged_s: float
    unknown_s: float
    planned_s: float
    produced: float
    good: float
    scrap: float
    pri_s: float | None

    @property
    def availability(self) -> float | None:
        """APT / PBT."""
        return self.apt_s / self.pbt_s if self.pbt_s > 0 else None

    @property
    def effectiveness(self) -> float | None:
        """PRI * PQ / APT; None without master data."""
        return self.pri_s * self.produced / self.apt_s if self.pri_s is not None and self.apt_s > 0 else None

    @property
    def quality(self) -> float | None:
        """GQ / PQ."""
        return self.good / self.produced if self.produced > 0 else None

    @property
    def oee(self) -> float | None:
        """The product; None where a factor cannot be had."""
        a, e, q = self.availability, self.effectiveness, self.quality
        return None if a is None or e is None or q is None else a * e * q


class Unit(msgspec.Struct, frozen=True):
    """A work unit and its stream."""

    source: str
    subject: str


def unit_of(database: Database, name: str | None) -> Unit:
    """Return the unit called ``name`` (its subject or the end of it); without a name the only one. Raises EdgeAgentError."""
    known = [Unit(*row) for row in database.read("SELECT source, subject FROM unit_now ORDER BY subject")]
    found = [one for one in known if name is None or one.subject == name or one.subject.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.subject for one in known) or "none yet"
    raise EdgeAgentError(
        f"{'which unit?' if name is None else f'no one unit is called {name}'} there are: {names}; name one by --unit"
    )


def order(database: Database, unit: Unit, name: str, *, pri: float | None = None, planned: Collection[str] = ()) -> Figures:
    """Return the figures of one order. Raises EdgeAgentError when nobody told of it."""
    rows = database.read("SELECT started_us, ended_us, product FROM orders WHERE source = ? AND order_id = ?", (unit.source, name))
    if not rows or rows[0][0] is None:
        raise EdgeAgentError(f"nothing is known of the start of order {name} on {unit.subject}")
    started, ended, product = rows[0]
    end = ended if ended is not None else last_time(database, unit)
    totals = database.read(
        "SELECT total, good, scrap FROM order_totals WHERE subject = ? AND order_id = ?", (unit.subject, name)
    ) or [(0, 0, 0)]
    spans = [span for span_order, span in order_spans(database, unit, end) if span_order == name] or [(started, end)]
    pri = pri if pri is not None else ideal(database, unit, product, end)
    return _figures(database, unit, timeline.within(spans, started, end), totals[0], pri, planned)


def window(
    database: Database,
    unit: Unit,
    begin: int,
    end: int,
    *,
    shift: str | None = None,
    pri: float | None = None,
    planned: Collection[str] = (),
) -> Figures:
    """Return the figures between two times (UTC microseconds); ``shift``: only what was counted for that shift."""
    spans = timeline.within([span for _, span in order_spans(database, unit, end)], begin, end)
    only, values = ("AND shift = ?", (shift,)) if shift is not None else ("", ())
    rows = database.read(
        f"SELECT disposition, SUM(delta) FROM counts WHERE source = ? AND at_us >= ? AND at_us <= ? {only} "  # noqa: S608 - no value in it
        f"AND COALESCE(mode, '') NOT IN ({', '.join('?' * len(NOT_PRODUCTION))}) GROUP BY disposition",
        (unit.source, begin, end, *values, *sorted(NOT_PRODUCTION)),
    )
    made = {disposition: float(amount) for disposition, amount in rows}
    total, scrap = made.get("total", 0.0), made.get("scrap", 0.0)
    totals = (total, made.get("good", total - scrap - made.get("rework", 0.0)), scrap)
    return _figures(
        database, unit, spans or [(begin, end)], totals, pri if pri is not None else ideal(database, unit, None, end), planned
    )


def _figures(
    database: Database, unit: Unit, spans: Sequence[Span], totals: Sequence[float], pri: float | None, planned: Collection[str]
) -> Figures:
    parts = states(database, unit, spans[0][0], spans[-1][1]) if spans else []
    productive = _without(spans, not_production(database, unit, spans[-1][1] if spans else 0))
    stops = timeline.within(_planned(database, unit, planned), *(spans[0][0], spans[-1][1])) if spans else []
    planned_s = sum((last - first) / 1e6 for stop in stops for first, last in timeline.within(spans, *stop))
    return Figures(
        pbt_s=sum((last - first) / 1e6 for first, last in spans) - planned_s,
        apt_s=timeline.seconds(parts, productive, "running"),
        bridged_s=timeline.seconds(parts, productive, "running", bridged=True),
        unknown_s=timeline.seconds(parts, spans, timeline.UNKNOWN),
        planned_s=planned_s,
        produced=float(totals[0]),
        good=float(totals[1]),
        scrap=float(totals[2]),
        pri_s=pri,
    )


def states(database: Database, unit: Unit, begin: int, end: int) -> list[Segment]:
    """Return what the unit did between two times."""
    rows = database.read(
        "SELECT at_us, category, name, continuity, origin FROM states WHERE source = ? AND at_us < ? ORDER BY at_us, seq",
        (unit.source, end),
    )
    return timeline.segments((Seen(*row) for row in rows), begin, end)


def order_spans(database: Database, unit: Unit, end: int) -> list[tuple[str, Span]]:
    """Return when which order was on the unit, without its pauses; what is still on it lasts until ``end``."""
    rows = database.read("SELECT order_id, step, at_us FROM order_steps WHERE source = ? ORDER BY at_us, seq", (unit.source,))
    open_since: dict[str, int] = {}
    spans: list[tuple[str, Span]] = []
    for name, step, at in rows:
        if step in {"started", "resumed"}:
            open_since.setdefault(name, at)
        elif name in open_since:
            spans.append((name, (open_since.pop(name), at)))
    spans += [(name, (since, end)) for name, since in open_since.items() if since < end]
    return sorted(spans, key=lambda one: one[1])


def not_production(database: Database, unit: Unit, end: int) -> list[Span]:
    """Return when the unit was in a mode that is no production."""
    rows = database.read("SELECT at_us, name FROM modes WHERE source = ? AND at_us < ? ORDER BY at_us, seq", (unit.source, end))
    ends = [at for at, _ in rows[1:]] + [end]
    return [(at, until) for (at, name), until in zip(rows, ends, strict=True) if name in NOT_PRODUCTION] if rows else []


def last_time(database: Database, unit: Unit) -> int:
    """Return the newest time that is known of the unit: what it is complete up to, or its last event."""
    rows = database.read(
        "SELECT COALESCE(s.complete_to_us, 0), n.as_of_us FROM unit_now n JOIN streams s ON s.source = n.source WHERE n.source = ?",
        (unit.source,),
    )
    return max(rows[0]) if rows else 0


def ideal(database: Database, unit: Unit, product: str | None, end: int) -> float | None:
    """Return what a part should take in s: the table ``ideals`` (product '' = any), else the last design speed that was told."""
    rows = database.read(
        "SELECT seconds_per_part FROM ideals WHERE subject = ? AND product IN (?, '') ORDER BY product DESC",
        (unit.subject, product or ""),
    )
    if rows:
        return float(rows[0][0])
    told = database.read(
        "SELECT body FROM inbox WHERE source = ? AND name = 'speed.changed' AND at_us <= ? ORDER BY at_us DESC LIMIT 20",
        (unit.source, end),
    )
    for (body,) in told:
        data = json.loads(body)["data"]
        design, uom = data.get("design"), str(data.get("uom") or "").upper()
        if isinstance(design, int | float) and design > 0:
            return _PER.get(uom, 60.0) / design
    return None


def _planned(database: Database, unit: Unit, reasons: Collection[str]) -> list[Span]:
    if not reasons:
        return []
    places = ", ".join("?" * len(reasons))
    rows = database.read(
        f"SELECT began_us, ended_us FROM downtimes WHERE source = ? AND ended_us IS NOT NULL AND reason_code IN ({places})",  # noqa: S608
        (unit.source, *sorted(reasons)),
    )
    return [(began, ended) for began, ended in rows]


def _without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    left = list(spans)
    for first, last in holes:
        left = [part for begin, end in left for part in ((begin, min(end, first)), (max(begin, last), end)) if part[1] > part[0]]
    return left
