"""What the checker compares: what arrived at the broker, and what the agent's store still holds. Written from the documented formats alone."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import apsw

from simulators.broker_ledger import payload_of

Entry = dict[str, Any]
_REFUSED = 0x80


@dataclass(frozen=True)
class Arrival:
    """One numbered event as the broker got it; ``code`` >= 0x80: the broker did not take it. ``size`` = bytes of the packet, ``flaw`` says what is wrong."""

    at: float
    link: int
    code: int
    stream: str
    epoch: str
    seq: int
    type: str
    data: dict[str, Any]
    payload: bytes
    size: int
    asked: bool
    flaw: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the broker took it."""
        return self.code < _REFUSED


@dataclass(frozen=True)
class Held:
    """One record of the agent's store."""

    stream: str
    epoch: str
    seq: int
    loss_from: int | None
    type: str
    data: dict[str, Any]
    waiting: bool
    sound: bool


@dataclass
class StoreView:
    """What a store holds: the last number given per (stream, epoch), and the records."""

    heads: dict[tuple[str, str], int] = field(default_factory=dict)
    records: list[Held] = field(default_factory=list)


def arrivals(ledger: list[Entry]) -> tuple[list[Arrival], list[str]]:
    """Return the numbered events of a broker's ledger in the order they came, and what could not be read at all."""
    found, unreadable = [], []
    for entry in ledger:
        if entry["what"] == "publish" and {"_event", "_telemetry"} & set(entry["topic"].split("/")):
            try:
                found.append(_arrival(entry))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                unreadable.append(f"{entry['topic']} of link {entry['link']}: {type(error).__name__}: {error}")
    return found, unreadable


def _arrival(entry: Entry) -> Arrival:
    payload = payload_of(entry)
    event = json.loads(payload)
    data = event["data"]
    user = dict(entry["user"])
    stream = unquote(event["source"].split("/", 4)[4])
    flaw = None
    if event["sequence"] != f"{data['seq']:020d}":
        flaw = f"sequence {event['sequence']} and seq {data['seq']}"
    elif any(user[name] != event[name] for name in ("id", "sequence", "type", "source") if name in user):
        flaw = "user properties differ from the event"
    elif event["specversion"] != "1.0" or str(data["seq"]) not in event["id"] or data["epoch"] not in event["id"]:
        flaw = f"id {event['id']}"
    return Arrival(
        at=entry["at"],
        link=entry["link"],
        code=entry["code"],
        stream=stream,
        epoch=data["epoch"],
        seq=int(data["seq"]),
        type=event["type"],
        data=data,
        payload=payload,
        size=entry["size"],
        asked="resend" in user,
        flaw=flaw,
    )


def read_store(folder: Path) -> StoreView:
    """Read the store of an agent that does not run, from a copy: the original is not touched, not even its log."""
    view = StoreView()
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("buffer.db", "buffer.db-wal"):
            if name == "buffer.db" or (folder / name).exists():
                shutil.copy(folder / name, temporary)
        connection = apsw.Connection(str(Path(temporary) / "buffer.db"))
        try:
            for epoch, name, head in connection.execute("SELECT epoch, name, head FROM stream"):
                view.heads[name, epoch] = head
            waiting = {row[0] for row in connection.execute("SELECT id FROM waiting")}
            for row in connection.execute(_RECORDS):
                view.records.append(_held(row, waiting))
        finally:
            connection.close()
    return view


_RECORDS = """SELECT record.id, name, epoch, seq, kind, type, time, recorded, correlation, causation, samples, loss_from, crc, body
              FROM record JOIN stream ON stream.id = record.stream ORDER BY record.id"""


def _held(row: tuple[Any, ...], waiting: set[int]) -> Held:
    identity, name, epoch, seq, kind, type_, time, recorded, correlation, causation, samples, loss_from, crc, body = row
    who = f"{name}\0{kind}\0{type_}\0{correlation}\0{causation}\0{time}/{recorded}/{samples}"
    total = zlib.crc32(body, zlib.crc32(f"{epoch}/{seq}/{loss_from}".encode(), zlib.crc32(who.encode())))
    return Held(name, epoch, seq, loss_from, type_, json.loads(body), identity in waiting, total == crc)
