"""Events that no row can hold: text that is no Unicode, a time beyond 64 bits, a body that is too large for the store (pure).

Asking again would not help, and the unit behind them would stand still for ever. So a declared gap takes the number that the event would
have had, and what can be kept of it becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from edge_agent.buffer.loss import loss_of
from edge_agent.buffer.numbering import Group, Unfit, check
from edge_agent.model.stream import Entry

_SHOWN = 1_000
_LATEST = (1 << 63) - 1


def mended(group: Group, largest: int, prefix: str) -> Group:
    """Return ``group`` with a loss record in the place of each event that cannot be stored; ``largest`` = bytes of a body.

    What is wrong for another reason (states, the name of a stream: no data of a device is in them) stays as it is. Raises nothing.
    """
    events: list[Entry] = []
    unfit: list[Unfit] = []
    for entry in group.events:
        try:
            check(entry, largest)
        except (TypeError, ValueError) as error:  # told in the loss record and in the dead letter
            if type(entry.stream) is not str or _text(entry.stream) != entry.stream:
                events.append(entry)
                continue
            clean, reason = _clean(entry, largest)
            unfit.append(Unfit(len(events), clean, reason, f"cannot be stored: {error}"))
            events.append(_loss(clean, str(error), prefix))
        else:
            events.append(entry)
    return msgspec.structs.replace(group, events=events, unfit=unfit)


def _loss(clean: Entry, error: str, prefix: str) -> Entry:
    return loss_of([(None, clean)], "rejected", f"cannot be stored: {_text(error)}").entry(prefix)


def _clean(entry: Entry, largest: int) -> tuple[Entry, Literal["rejected", "corruption"]]:
    """Return what can be kept, and ``corruption`` when that is not all that was to be said."""
    recorded = _instant(entry.recorded, 0)
    body, whole = _body(entry.body, largest)
    clean = Entry(
        _text(entry.stream),
        entry.kind if entry.kind in {"E", "T"} else "E",
        _text(entry.type),
        _instant(entry.time, recorded),
        recorded,
        body,
        None if entry.correlation is None else _text(entry.correlation),
        None if entry.causation is None else _text(entry.causation),
        max(0, _instant(entry.samples, 1)),
    )
    return clean, "rejected" if whole else "corruption"


def _text(text: object) -> str:
    return str(text).encode(errors="backslashreplace").decode()


def _instant(value: object, otherwise: int) -> int:
    return value if type(value) is int and -_LATEST <= value <= _LATEST else otherwise


def _body(body: object, largest: int) -> tuple[bytes, bool]:
    if type(body) is bytes and len(body) <= largest:
        return body, True
    size = len(body) if isinstance(body, Sequence) else None
    begins = body[:_SHOWN].decode(errors="backslashreplace") if isinstance(body, bytes) else repr(body)[:_SHOWN]
    return msgspec.json.encode({"not_kept": {"bytes": size, "begins": _text(begins)}}), False
