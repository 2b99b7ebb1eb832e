"""The newest value of every telemetry tag, one retained topic each: ``{"timestamp_ms": .., "value": ..}`` and nothing else.

A mirror and no record: it has no number and is not stored, and of several samples only the newest is told. What is not known to be true does not
stay: a bad sample or a lost device takes the value away, and each value expires unless it is told again, so a dead agent's values go by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from edge_agent.events.encode import json_value
from edge_agent.model.errors import RejectedError
from edge_agent.model.instant import MS, NS
from edge_agent.model.reading import Batch, DeviceDown, Quality, Value
from edge_agent.ports import Document, Sink

AT_ONCE = 8
"""Values handed over at a time at most: events go beside them."""

_ENCODER = msgspec.json.Encoder()
_BAD = int(Quality.BAD)


class _Shown:
    """One tag on its topics: the newest sample, and what was told of it when (machine s, None: nothing on this connection)."""

    __slots__ = ("good", "refused", "time", "told", "topics", "value")

    def __init__(self, topics: tuple[str, ...]) -> None:
        self.topics = topics
        self.value: Value | None = None
        self.time: int | None = None
        self.good = False
        self.told: float | None = None
        self.refused = False


class Values:
    """Gathers samples as they come, whoever is connected, and tells them while a sink is open; one for the life of the agent."""

    def __init__(self, devices: Mapping[str, Sequence[tuple[str, ...]]], *, every: int, expiry: int) -> None:
        """Mirror ``devices``: for each tag in the order of the device the topics that show it. ``every``, ``expiry`` in machine ns."""
        self._devices = {
            name: [_Shown(topics) if topics else None for topics in tags] for name, tags in devices.items() if any(tags)
        }
        self._every, self._expiry = every / NS, expiry // NS
        self._news: dict[_Shown, None] = {}
        self._log = structlog.get_logger()

    @property
    def devices(self) -> frozenset[str]:
        """The devices that have a mirrored tag."""
        return frozenset(self._devices)

    async def deliver(self, batch: Batch) -> None:
        """Take in what a device sent; samples that were made while nobody listened are history, and none is told here."""
        shown = self._devices[batch.device]
        if any(isinstance(notice, DeviceDown) for notice in batch.before):
            self._lose(shown)
        if not batch.historical:
            self._take(shown, batch)
        if any(isinstance(notice, DeviceDown) for notice in batch.after):
            self._lose(shown)

    def _take(self, shown: Sequence[_Shown | None], batch: Batch) -> None:
        news, received = self._news, batch.received
        for tag, value, quality, source, server in zip(
            batch.tags, batch.values, batch.quality, batch.source, batch.server, strict=True
        ):
            if (one := shown[tag]) is None:
                continue
            good = quality != _BAD and value is not None and not (value.__class__ is float and value - value != 0.0)
            if one.time is None or good is not one.good or (good and _other(value, one.value)):
                news[one] = None
            one.value, one.good, one.time = value, good, source or server or received

    def _lose(self, shown: Iterable[_Shown | None]) -> None:
        for one in shown:
            if one is not None and one.good:
                one.good = False
                self._news[one] = None

    async def run(self, sink: Sink) -> None:
        """Tell everything that is known, then what changes, each tag once in a period at most. Runs until cancelled. Raises DisconnectedError."""
        for one in self._all():
            one.told, one.refused = None, False
            if one.time is not None:
                self._news[one] = None
        while True:
            began = time.monotonic()
            await self._round(sink)
            await asyncio.sleep(max(self._every - (time.monotonic() - began), 0.0))

    async def _round(self, sink: Sink) -> None:
        """Tell what has changed, and again what would expire."""
        due = time.monotonic() - self._expiry / 3
        again = [one for one in self._all() if one.good and one.told is not None and one.told <= due]
        waiting = list({**self._news, **dict.fromkeys(again)})
        for start in range(0, len(waiting), AT_ONCE):
            some = waiting[start : start + AT_ONCE]
            tasks = [asyncio.create_task(self._tell(sink, one)) for one in some]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def _tell(self, sink: Sink, one: _Shown) -> None:
        """Tell the newest sample of a tag. What comes meanwhile is news again, and a new connection tells everything: nothing is put back."""
        self._news.pop(one, None)
        if one.refused:
            return
        payload, one.told = _payload(one), time.monotonic()
        for topic in one.topics:
            try:
                await sink.announce(Document(topic, payload, expiry=self._expiry if payload else None, lasting=not payload))
            except RejectedError as error:
                one.refused = True  # until the next connection: a broker that refuses a topic would do so in every period
                self._log.error("value.rejected", topic=topic, reason=str(error))

    def _all(self) -> list[_Shown]:
        return [one for tags in self._devices.values() for one in tags if one is not None]


def _payload(one: _Shown) -> bytes:
    """Return the message; without a byte it takes a retained value away (MQTT 5.0, 3.3.1.3)."""
    if not one.good or one.time is None:
        return b""
    return _ENCODER.encode({"timestamp_ms": one.time // MS, "value": json_value(one.value)})


def _other(value: Any, before: Any) -> bool:
    return value != before or value.__class__ is not before.__class__
