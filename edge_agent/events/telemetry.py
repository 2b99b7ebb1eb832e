"""Telemetry: sampled values in columns, from the batch to the payload, never looked at one by one (``process.value``).

One message per unit and flush. Its data::

    {"tags": [{"tag": "plc1.speed", "uom": "/min"}, ...],
     "t0": "2026-10-25T04:51:00.250000Z",
     "columns": {"tag": [0, 1, 0], "dt_us": [0, 40, 1000], "value": [120.0, 72.1, null], "q": [0, 0, 2]},
     "q": "uncertain", "cfg": "..."}

``tags`` are those that have a sample in the message. Row i is a sample of ``tags[columns.tag[i]]`` taken ``dt_us[i]`` microseconds after ``t0`` (by the best clock of the sample); ``q`` is 0
good, 1 uncertain, 2 bad. ``derivation: historical`` stands in messages of samples that were made while nobody listened. A bad sample has no value; NaN and infinities are bad samples. The ``q`` outside is good when all are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, groupby
from math import isfinite
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from edge_agent.events.encode import SAFE, full_type, json_value
from edge_agent.events.window import Tick
from edge_agent.model.instant import NS, iso
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import Batch, Tag, Value
from edge_agent.model.stream import Entry

MOST = 1000
"""Samples in one message at most."""


_HEADS = 64
"""Orders of tags whose JSON is kept."""


class TelemetryConfig(BaseModel):
    """``telemetry:`` of a unit: which tags are published as they are, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tags: tuple[str, ...] = Field(description="device.tag of every value to publish")
    publish: Duration = Field(default=NS, description="one message this often")


class TelemetrySpec(msgspec.Struct, frozen=True):
    """What the fold needs to know: the unit's tags in the order of the configuration, the period (plant ns), and the envelope."""

    unit: str
    tags: tuple[Tag, ...] = ()
    publish: int = NS
    prefix: str = "edgeagent"
    cfg: str = ""


class _Chunk(msgspec.Struct, frozen=True, gc=False):
    tags: list[int]
    times: list[int]
    values: list[Value | None]
    quality: list[int]
    historical: bool = False


class Columns(msgspec.Struct, frozen=True):
    """What waits for the next flush; ``since`` is the agent's time of the oldest chunk (UTC ns)."""

    chunks: tuple[_Chunk, ...] = ()
    rows: int = 0
    since: int = 0


_NOTHING = Columns()


class _Route(msgspec.Struct, frozen=True):
    column: tuple[int, ...]
    wanted: tuple[bool, ...]


class Telemetry:
    """Gathers columns and makes entries of them; pure, its state is `Columns`."""

    def __init__(self, spec: TelemetrySpec, devices: Mapping[str, Sequence[Tag]]) -> None:
        self._spec = spec
        self._names = [msgspec.json.encode({"tag": tag.ref, "uom": tag.uom}) for tag in spec.tags]
        self._heads: dict[tuple[int, ...], tuple[msgspec.Raw, msgspec.Raw]] = {}
        place = {tag.ref: column for column, tag in enumerate(spec.tags)}
        self._routes: dict[str, _Route] = {}
        for device, tags in devices.items():
            column = tuple(place.get(tag.ref, -1) for tag in tags)
            if max(column, default=-1) >= 0:
                self._routes[device] = _Route(column, tuple(number >= 0 for number in column))

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the ``device.tag`` of everything that is sampled."""
        return tuple(tag.ref for tag in self._spec.tags)

    def take(self, columns: Columns, inputs: Sequence[Batch | Tick]) -> Columns:
        """Return ``columns`` with the rows of ``inputs`` that are telemetry."""
        for thing in inputs:
            if isinstance(thing, Batch) and thing.tags and (route := self._routes.get(thing.device)):
                chunk = _chunk(thing, route)
                if chunk.tags:
                    since = columns.since if columns.rows else thing.received
                    columns = Columns((*columns.chunks, chunk), columns.rows + len(chunk.tags), since)
        return columns

    def flush(self, columns: Columns, now: int, *, final: bool) -> tuple[Columns, tuple[Entry, ...]]:
        """Return the messages that are due at ``now`` (plant UTC ns), and what still waits."""
        if not columns.rows or not (final or columns.rows >= MOST or now - columns.since >= self._spec.publish):
            return columns, ()
        return _NOTHING, tuple(self._entry(chunk, now) for chunk in _messages(columns.chunks))

    def _entry(self, rows: _Chunk, now: int) -> Entry:
        spec, first = self._spec, min(rows.times)
        values, quality = _publishable(rows)
        names, column = self._head(rows.tags)
        data = {
            "tags": names,
            "t0": iso(first),
            "columns": {"tag": column, "dt_us": [(time - first) // 1000 for time in rows.times], "value": values, "q": quality},
            "q": "uncertain" if any(quality) else "good",
            "cfg": spec.cfg,
        }
        if rows.historical:
            data["derivation"] = "historical"
        body = msgspec.json.encode(data)
        kind = full_type("process.value", spec.prefix)
        return Entry(f"{spec.unit}/telemetry", "T", kind, max(rows.times), now, body, samples=len(values))

    def _head(self, tags: list[int]) -> tuple[msgspec.Raw, msgspec.Raw]:
        """Return the JSON of the tags that rows are of, and of the rows' places among them.

        Devices tell the same tags in the same order again and again, so both are kept.
        """
        key = tuple(tags)
        known = self._heads.get(key)
        if known is None:
            used = sorted(set(tags))
            place = {tag: number for number, tag in enumerate(used)}
            names = msgspec.Raw(b"[" + b",".join([self._names[tag] for tag in used]) + b"]")
            known = names, msgspec.Raw(msgspec.json.encode([place[tag] for tag in tags]))
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[key] = known
        return known


def _chunk(batch: Batch, route: _Route) -> _Chunk:
    """Return the wanted rows of a batch, column by column; the rows of trigger groups are records, not samples."""
    mask = list(map(route.wanted.__getitem__, batch.tags))
    for part in batch.snapshots:
        mask[part.start : part.stop] = [False] * (part.stop - part.start)
    columns = (batch.tags, batch.source, batch.server, batch.values, batch.quality)
    if not all(mask):
        columns = tuple(list(compress(column, mask)) for column in columns)  # type: ignore[assignment]  # the same types, thinned
    tags, source, server, values, quality = columns
    received = batch.received
    times = [own or theirs or received for own, theirs in zip(source, server, strict=True)] if 0 in source else source
    return _Chunk(list(map(route.column.__getitem__, tags)), times, values, quality, batch.historical)


def _messages(chunks: Sequence[_Chunk]) -> Iterator[_Chunk]:
    """Yield the chunks joined, and cut where a message would be too long; what was sampled out of sight has messages of its own."""
    for historical, some in groupby(chunks, key=lambda chunk: chunk.historical):
        yield from _joined(tuple(some), historical)


def _joined(chunks: Sequence[_Chunk], historical: bool) -> Iterator[_Chunk]:
    tags: list[int] = []
    times: list[int] = []
    values: list[Value | None] = []
    quality: list[int] = []
    for chunk in chunks:
        tags += chunk.tags
        times += chunk.times
        values += chunk.values
        quality += chunk.quality
    for start in range(0, len(tags), MOST):
        part = slice(start, start + MOST)
        yield _Chunk(tags[part], times[part], values[part], quality[part], historical)


def _publishable(rows: _Chunk) -> tuple[Sequence[object], Sequence[int]]:
    """Return values and qualities as JSON can carry them: without a value where the sample is bad, and bad where there is no number."""
    if not any(rows.quality) and _all_plain(rows.values):
        return rows.values, rows.quality
    values: list[object] = []
    quality = list(rows.quality)
    for place, value in enumerate(rows.values):
        if value.__class__ is float and value - value != 0.0:  # NaN and infinities only
            quality[place] = 2
        values.append(None if quality[place] == 2 else value if value.__class__ is float else json_value(value))
    return values, quality


def _all_plain(values: Sequence[Any]) -> bool:
    """Tell, without looking at them one by one, that all values are numbers which JSON carries as they are."""
    try:
        return isfinite(sum(values)) and max(values) <= SAFE and min(values) >= -SAFE
    except (TypeError, OverflowError):
        return False
