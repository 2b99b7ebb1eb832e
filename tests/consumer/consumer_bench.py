"""Events as an agent sends them, and a database to book them into."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_agent.consumer import documents, topics
from edge_agent.consumer.database import Database
from edge_agent.consumer.event import Event, read
from edge_agent.consumer.store import Store
from edge_agent.model.instant import iso

SOURCE = "/acme/plant1/gw-l3/filler"
SUBJECT = "acme/plant1/packaging/line3/filler"
T0 = 1_792_904_000_000_000_000  # ns
NOW = 1_792_904_000_000_000  # us
CTX = {"order": "WO-1", "product": "4711", "lot": "L-A", "mode": "Production", "shift": "N", "recipe": None}
LINE = Path(__file__).parent / "line.jsonl.gz"


def payload(
    seq: int,
    name: str = "production.count",
    *,
    epoch: str = "E1",
    source: str = SOURCE,
    t: float = 0.0,
    ctx: dict[str, Any] | None = None,
    event_id: str | None = None,
    **data: Any,
) -> bytes:
    """Return the bytes of an event at ``t`` s."""
    time = iso(T0 + round(t * 1e9))
    stream = source.removeprefix("/acme/plant1/gw-l3/").replace("/", ".")
    body = {"epoch": epoch, "seq": seq, **data, "ctx": CTX | (ctx or {}), "q": "good", "derivation": "observed"}
    return json.dumps({
        "specversion": "1.0", "id": event_id or f"{epoch}-{stream}-{seq:012d}", "source": source, "type": f"edgeagent.{name}.v1",
        "subject": SUBJECT, "time": time, "recordedtime": time, "sequence": f"{seq:020d}", "data": {"late": False} | body,
    }).encode()  # fmt: skip


def event(seq: int, name: str = "production.count", **more: Any) -> Event:
    """Return an event as it is read."""
    return read(payload(seq, name, **more))


def piece(seq: int, delta: float, total: float, **more: Any) -> bytes:
    """Return a count of the counter ``total``."""
    return payload(
        seq, counter="total", disposition="total", delta=delta, total=total, uom="H87", spans=[], **{"t": float(seq), **more}
    )


def gap(seq: int, first: int, **more: Any) -> bytes:
    """Return a loss record for the numbers ``first`` to ``seq``."""
    return payload(
        seq, "collection.gap", **{"reason": "buffer_overflow", "lost": "unknown", "seq_from": first, "seq_to": seq, **more}
    )


def feed(store: Store, *payloads: bytes, retained: bool = False) -> None:
    """Book ``payloads`` in one transaction."""
    with store.database.transaction():
        for one in payloads:
            store.take(one, retained=retained, now=NOW)
        store.finish()


def line() -> Iterator[tuple[str, bool, bytes]]:
    """Yield (topic, retained, payload) of everything that the demo line sent in a run with all its faults."""
    with gzip.open(LINE, "rt", encoding="utf-8") as file:
        for entry in file:
            topic, retained, body = json.loads(entry)
            yield topic, retained, body.encode()


def play(store: Store, messages: Iterator[tuple[str, bool, bytes]]) -> None:
    """Give ``messages`` to the store as the program does."""
    database: Database = store.database
    with database.transaction():
        for topic, retained, body in messages:
            place = topics.place(topic)
            assert place is not None
            if place.kind == "event":
                store.take(body, retained=retained, now=NOW)
            elif place.kind == "checkpoint":
                store.checkpoint(topics.source(topics.prefix(place.base, "edge"), place.name), documents.checkpoint(body), now=NOW)
            elif place.kind == "status":
                write(database, documents.status_rows(body, place.base, topics.prefix(place.base, "edge")))
            else:
                write(database, documents.meta_rows(body, topics.subject(place.base, "edge")))
        store.finish()


def write(database: Database, rows: list[Any]) -> None:
    """Write rows."""
    for row in rows:
        database.write(row.sql(), tuple(row.cells.values()))


def total(database: Database, counter: str = "total") -> float:
    """Return everything booked of a counter."""
    return float(database.read("SELECT COALESCE(SUM(delta), 0) FROM counts WHERE counter = ?", (counter,))[0][0])
