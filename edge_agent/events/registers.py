"""What counters and energy share towards the configuration and the outside: checked references, and the audit trail.

A register is refused when the file is loaded, not when its first wrap comes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from edge_agent.events.advance import WRAPS, modulus_of
from edge_agent.events.reference import check_references
from edge_agent.events.rule import CounterFacts, Moment
from edge_agent.events.tally import Move, Tally, Watch
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.instant import iso
from edge_agent.model.reading import Quality, Reading, Tag


def _wraps(text: str) -> str:
    modulus_of(text)
    return text


Wraps = Annotated[str, AfterValidator(_wraps)]
"""How a register wraps: uint16, uint32, dint, packml, digits:N, modulus:N or never."""

_REMEDY = {
    "role": "say what it counts, as role: total, good, scrap, rework, sample, infeed, outfeed or consumed",
    "wraps": f"say how the register wraps, as wraps: {WRAPS}",
    "max_rate": "say how fast it can count at most, as max_rate: 3/s (1.5 x the design speed is a good value)",
}


def require(given: Any, known: Container[str], *names: str) -> Any:
    """Return the mapping ``given``; raise ValueError, ``cause; remedy``, where it leaves out what cannot be guessed (``names``).

    A key that is not ``known`` may be the one that is missing, misspelt: then the model tells both.
    """
    if not isinstance(given, Mapping) or any(key not in known for key in given):
        return given
    if lacking := [name for name in names if given.get(name) is None]:
        are = "is" if len(lacking) == 1 else "are"
        remedies = ", and ".join(_REMEDY[name] for name in lacking)
        raise ValueError(f"{' and '.join(lacking)} {are} missing; {remedies}")
    return given


_BITS = {
    "int8": 7, "uint8": 8, "int16": 15, "uint16": 16, "int24": 23, "uint24": 24, "int32": 31, "uint32": 32, "int48": 47, "uint48": 48,
    "int64": 63, "uint64": 64, "bcd16": 14, "bcd32": 27, "bcd64": 54,
}  # fmt: skip
"""Bits that hold what a type can count to; four digits of BCD (9,999) need 14."""

_WHOLE = {"float16": "2,048", "float32": "16,777,216"}
"""Above these a float loses whole numbers (IEEE 754: 11 and 24 bits of significand)."""


def find_register(ref: str, tags: Mapping[str, Tag], wraps: str, place: str) -> Tag:
    """Return the tag of a counting register.

    Raises ValueError, ``place: cause; remedy``, where there is none, where its type cannot count exactly, or not the way it wraps.
    """
    check_references([(f"{place}.tag", ref)], tags)
    tag = tags[ref]
    if problem := _problem(tag, wraps):
        raise ValueError(f"{place}.{problem}")
    return tag


def _problem(tag: Tag, wraps: str) -> str | None:
    if tag.scale == 0:
        return f"tag: {tag.ref} has scale 0, so its register cannot be recovered; give it its true scale"
    if tag.scaled_by is not None:
        return f"tag: {tag.ref} is scaled by {tag.scaled_by} anew in each sample, so its register cannot be recovered; count a tag without scale_from"
    if tag.type in {None, "float64"}:
        return None
    if tag.type in _WHOLE:
        return f"tag: {tag.ref} is {tag.type}, which loses whole numbers above {_WHOLE[tag.type]}; count an integer register"
    if tag.type not in _BITS:
        return f"tag: {tag.ref} is {tag.type} and no number; count an integer register"
    if wraps == "dint":
        return None if tag.type == "int32" else f"wraps: dint is for int32, {tag.ref} is {tag.type}; write {WRAPS}"
    highest = (modulus_of(wraps) or 1) - 1
    if highest >> _BITS[tag.type]:
        return f"wraps: {tag.ref} is {tag.type} and never reaches {highest:,} ({wraps}); declare it unsigned, or say how it wraps"
    return None


def fingerprint(tag: Tag, *meaning: object) -> str:
    """Return what gives a stored baseline its meaning: the register and how it is read; thresholds and labels are left out."""
    return " ".join(map(str, (tag.ref, tag.type, tag.scale, tag.offset, *meaning)))


def discontinuity(move: Move, counter: str, moment: Moment, reading: Reading) -> ProductionEvent:
    """Return the audit record of a step that was not plain counting; raw values are texts, unsigned, as the register holds them."""
    data = {
        "counter": counter,
        "kind": move.kind,
        "raw_before": None if move.before is None else str(move.before),
        "raw_after": str(move.after),
        "counted_delta": move.delta,
        "uncounted": {"min": move.uncounted[0], "max": move.uncounted[1]},
        "evidence": list(move.evidence),
    }
    return happened("counter.discontinuity", data, move, moment=moment, reading=reading, ctx=moment.picture.context)


def happened(kind: str, data: dict[str, Any], move: Move, *, moment: Moment, reading: Reading, ctx: Context) -> ProductionEvent:
    """Return an event at the end of a move's interval, with the reading's times and quality."""
    return ProductionEvent(
        type=kind,
        time=move.until,
        data=data,
        ctx=ctx,
        at=reading.at,
        interval=(move.since, move.until),
        quality=Quality.UNCERTAIN if reading.quality is Quality.UNCERTAIN else Quality.GOOD,
        derivation="recovered" if move.recovered else "observed",
        late=moment.late,
        correlation=ctx.order,
    )


def interval_text(since: int, until: int) -> list[str]:
    """Return an interval as two RFC 3339 texts."""
    return [iso(since), iso(until)]


def facts_of(tally: Tally, watch: Watch, role: str, uom: str, aside: int = 0) -> CounterFacts | None:
    """Return where a register stands, for snapshots and checkpoints; None before its first sample."""
    if tally.last is None:
        return None
    boot = tally.boot.boot_id
    if boot is None and tally.boot.started is not None:
        boot = iso(tally.boot.started)
    return CounterFacts(
        role=role,
        total=tally.total,
        raw=tally.last,
        modulus=watch.register.modulus,
        boot=None if boot is None else str(boot),
        scale=watch.scale,
        uom=uom,
        good=tally.good,
        aside=aside,
    )
