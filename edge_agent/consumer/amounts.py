"""The rows of everything that is counted: pieces, energy, and what declared losses say of them. Pure.

Exactly one type moves pieces: `production.count`. What breaks counts down (scrap with a reason, serial numbers, cycles) stands beside
them and is never added.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from decimal import Decimal
from typing import Any

import msgspec

from edge_agent.consumer import totals
from edge_agent.consumer.event import Event, micros
from edge_agent.consumer.row import Cells, Row, text, when
from edge_agent.consumer.totals import Part, Total, amount

METER = "meter:"
_PLACE = ("source", "epoch", "seq")


class Account(msgspec.Struct, frozen=True):
    """A counter as it is booked: how far, and what it counts."""

    total: Total
    disposition: str
    uom: str | None = None


Accounts = MutableMapping[str, Account]
"""The accounts of one stream, by the name of the counter; meters are called ``meter:NAME``."""


def count(event: Event, accounts: Accounts) -> list[Row]:
    """Return the rows of a `production.count`: its delta as told, and what only the total tells."""
    data, name = event.data, str(event.data["counter"])
    was = accounts.get(name)
    total, parts = totals.count(
        was.total if was else None, event.epoch, amount(data["delta"]), amount(data["total"]), retry=event.retry_of is not None
    )
    accounts[name] = account = Account(total, str(data["disposition"]), text(data.get("uom")))
    return [_counted(event, number, name, account, part) for number, part in enumerate(parts)]


def _counted(event: Event, number: int, counter: str, account: Account, part: Part) -> Row:
    ctx, data, told = event.ctx, event.data, part.kind == "told"
    spans = list(data.get("spans") or ()) if told else ["lost"]
    cells = _amount(event, number, account.total.value, part) | {
        "counter": counter,
        "disposition": account.disposition,
        "uom": account.uom,
        "quality": text(data.get("q")),
        "derivation": text(data.get("derivation")),
        "late": int(data.get("late") is True),
        "unassigned": int(not told or "order" in spans),
        "spans": text(spans),
        "reason": text(data.get("reason")),
    }
    if told:
        cells |= {"order_id": text(ctx.get("order"))} | {name: text(ctx.get(name)) for name in ("product", "lot", "mode", "shift")}
    return Row("counts", (*_PLACE, "part"), cells)


def energy(event: Event, accounts: Accounts) -> list[Row]:
    """Return the rows of an `energy.consumed`."""
    data, name = event.data, f"{METER}{event.data['meter']}"
    was = accounts.get(name)
    delta = amount(data["delta"])
    if was is not None and was.total.by_total and not delta:
        return []  # its total may be from before what is known; the next one that says anything tells
    total, parts = totals.count(
        was.total if was else None, event.epoch, delta, amount(data["total"]), retry=event.retry_of is not None
    )
    accounts[name] = Account(total, "energy", text(data.get("uom")))
    return [_consumed(event, number, total, part) for number, part in enumerate(parts)]


def _consumed(event: Event, number: int, total: Total, part: Part) -> Row:
    data, told = event.data, part.kind == "told"
    cells = _amount(event, number, total.value, part)
    cells |= {"meter": text(data["meter"]), "carrier": text(data.get("carrier")), "uom": text(data.get("uom"))}
    cells |= {"unassigned": int(not told or "order" in (data.get("spans") or ()))}
    if told:
        cells |= {"order_id": text(event.ctx.get("order")), "shift": text(event.ctx.get("shift"))}
    return Row("energy", (*_PLACE, "part"), cells)


def _amount(event: Event, number: int, total: Decimal, part: Part) -> Cells:
    begins, at = _interval(event)
    return {
        "source": event.source,
        "epoch": event.epoch,
        "seq": event.seq,
        "part": number,
        "subject": event.subject,
        "at": when(at),
        "at_us": at,
        "begins": when(begins),
        "begins_us": begins,
        "delta": part.delta,
        "total": total,
        "kind": part.kind,
    }


def _interval(event: Event) -> tuple[int | None, int]:
    """Return when it began and when it was known; a gap is known at its end."""
    span = event.data.get("interval")
    return (micros(span[0]) if span else None), event.time


def gap(event: Event, accounts: Accounts) -> list[Row]:
    """Return the rows of a `collection.gap`: itself, and the counts that went with the events it covers."""
    data = event.data
    span = data.get("interval") or (None, None)
    begins, ends = (micros(one) if one else None for one in span)
    cells: Cells = {"source": event.source, "epoch": event.epoch, "seq": event.seq, "subject": event.subject}
    cells |= {"at": when(event.time), "at_us": event.time, "reason": text(data["reason"]), "device": text(data.get("device"))}
    cells |= {"begins": when(begins), "begins_us": begins, "ends": when(ends), "ends_us": ends}
    cells |= {"lost": text(data.get("lost")) or "unknown", "recovered": text(data.get("recovered")), "tags": text(data.get("tags"))}
    cells |= {"seq_from": data.get("seq_from"), "seq_to": data.get("seq_to")}
    if data["reason"] == "store_rolled_back":
        _set_back(accounts)
    return [Row("gaps", _PLACE, cells), *_reconciled(event, accounts)]


def _set_back(accounts: Accounts) -> None:
    """From now on the totals alone count: a restored store may tell again what is booked."""
    for name, account in accounts.items():
        accounts[name] = msgspec.structs.replace(account, total=msgspec.structs.replace(account.total, by_total=True))


def _reconciled(event: Event, accounts: Accounts) -> Iterator[Row]:
    before, after = event.data.get("totals_at_from") or {}, event.data.get("totals_at_to") or {}
    number = 0
    for name, end in after.items():
        was = accounts.get(name)
        if was is None and name not in before:
            continue  # where it stood before nobody says: its next count begins the account
        total, parts = totals.lost(was.total if was else None, event.epoch, _known(before, name, was), amount(end))
        accounts[name] = account = Account(total, was.disposition if was else "unknown", was.uom if was else None)
        for part in parts:
            yield _counted(event, number, name, account, part)
            number += 1


def _known(before: Any, name: str, was: Account | None) -> Decimal:
    return amount(before[name]) if name in before else was.total.value if was else Decimal(0)


def baseline(event: Event, accounts: Accounts) -> list[Row]:
    """Return the row of a `counter.discontinuity`; after a baseline the counter's next total has nothing to do with the one before."""
    data = event.data
    if data.get("kind") == "baseline":
        accounts.pop(str(data["counter"]), None)
    cells: Cells = {"source": event.source, "epoch": event.epoch, "seq": event.seq, "subject": event.subject}
    cells |= {"at": when(event.time), "at_us": event.time}
    cells |= {name: text(data.get(name)) for name in ("counter", "kind", "raw_before", "raw_after")}
    counted, uncounted = data.get("counted_delta"), data.get("uncounted") or {}
    cells |= {"counted_delta": None if counted is None else amount(counted)}
    most = uncounted.get("max")
    cells |= {"uncounted_max": None if most is None else amount(most)}
    return [Row("discontinuities", _PLACE, cells)]
