"""The agent's own stream: its start and stop, devices that come and go, clock steps, faults. Each fact once, in the order it was known."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import structlog

from edge_agent import __version__
from edge_agent.agent.discipline import DeviceClocks, Discipline
from edge_agent.agent.faults import DeviceFaults, TagFaults
from edge_agent.buffer.identity import Damage
from edge_agent.events.encode import ClockState, encode
from edge_agent.model.errors import StorageError
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import iso
from edge_agent.model.reading import (
    Batch,
    Boot,
    ClockOffset,
    DeviceDown,
    DeviceFault,
    DeviceUp,
    Gap,
    Notice,
    Polled,
    Recovered,
    Settled,
    TagStatus,
    Undeclared,
)
from edge_agent.model.stream import Checkpoint, Custody, Entry
from edge_agent.ports import Buffer, PlantClock

_CFG = "cfg"
"""The stored state that says with which configuration the agent wrote last."""

Declare = Callable[[Sequence[Entry], Checkpoint, Damage], Awaitable[Custody]]
"""Appends the events that declare a damage, so that it is told once."""


def unknown_loss(now: int) -> ProductionEvent:
    """Return the gap that says at plant time ``now`` that nobody knows what a damaged store held besides."""
    gap = {"reason": "corruption", "interval": [None, iso(now)], "tags": ["*"], "lost": "unknown", "recovered": {}}
    return ProductionEvent(type="collection.gap", time=now, data=gap | {"seq_from": None, "seq_to": None})


def config_changed(time: int, old: str, new: str, summary: str) -> ProductionEvent:
    """Return what says at plant time ``time`` that another configuration holds: fingerprints of before and now, and what is different in words."""
    return ProductionEvent(type="config.changed", time=time, data={"cfg_old": old, "cfg_new": new, "summary": summary})


class Journal:
    """Writes the agent's stream."""

    def __init__(
        self, stream: str, buffer: Buffer, clock: PlantClock, *, prefix: str, cfg: str, devices: Mapping[str, tuple[str, str]]
    ) -> None:
        """Write to ``stream``; ``devices`` gives driver and endpoint of each device."""
        self._stream = stream
        self._buffer = buffer
        self._clock = clock
        self._prefix = prefix
        self._cfg = cfg
        self.devices = devices
        self.trust: Discipline | None = None
        self._clocks = DeviceClocks()
        self.made: Counter[str] = Counter()
        self._down_since: dict[str, int] = {}
        self._faults = DeviceFaults()
        self._tags = TagFaults()
        self._meant: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._polls: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.leaving: frozenset[str] = frozenset()
        """Devices whose connection ends because the configuration changed."""
        self._log = structlog.get_logger().bind(stream=stream)

    async def started(self, since: int, *, anew: bool = False) -> None:
        """Say that the agent runs since plant time ``since``, with the epoch before (``anew``: this start has begun one) and when it was last seen alive."""
        states, last_seen = await self._buffer.states(self._stream)
        clean = states.get("stopped") == b"true"  # the mark that a clean stop leaves
        anew = anew or self._buffer.fresh or last_seen is None
        await self.write(
            ProductionEvent(
                type="agent.started",
                time=since,
                data={
                    "version": __version__,
                    "host": platform.node(),
                    "prev_epoch": self._buffer.previous_epoch if anew else self._buffer.epoch,
                    "resumed": not self._buffer.fresh,
                    "reason": "boot" if last_seen is None else "restart" if clean else "crash",
                    "last_seen_at": None if last_seen is None else iso(last_seen),
                    "clock": self._clock_words(),
                },
            )
        )

        before = states.get(_CFG, b"").decode("ascii", "replace")
        if before and before != self._cfg:
            await self.write(
                config_changed(since, before, self._cfg, "devices or units are configured otherwise than before this start")
            )

    async def forget(self, devices: Collection[str], *, gone: Collection[str]) -> None:
        """End the faults of ``devices``, which are connected to anew or, those in ``gone``, not at all: what is still so is complained of again."""
        now = self._clock.now()
        over = self._faults.forget(devices, now)
        for device in gone:
            self._down_since.pop(device, None)
            self._meant.pop(device, None)
            self._polls.pop(device, None)
            over += self._tags.forget(device, now)
        for event in over:
            await self.write(event)

    def renew(self, cfg: str, devices: Mapping[str, tuple[str, str]]) -> None:
        """Write under configuration ``cfg`` from now on, about ``devices``."""
        self._cfg, self.devices = cfg, devices

    def _clock_words(self) -> dict[str, Any]:
        """Return whether the clock can be believed; a clock that is no wall clock (the demo's) can."""
        if self.trust is None:
            return {"synced": True, "offset_ms": None}
        found = self.trust.found
        return {"synced": found.synced, "offset_ms": found.offset_ms, "uncertainty_ms": found.error_ms}

    async def store_damaged(self, damage: Damage, declare: Declare) -> None:
        """Say that the store of before could not be used, and those before it of which nobody has said so; in one append."""
        events = [event for each in (*damage.before, damage) for event in self._damaged(each)]
        await self._write(events, lambda entries, checkpoint: declare(entries, checkpoint, damage))

    def _damaged(self, damage: Damage) -> list[ProductionEvent]:
        """Return an `agent.fault`, and where even the streams were unreadable the gap itself."""
        data: dict[str, Any] = {
            "code": "store_damaged",
            "action": "raised",
            "severity": 900,
            "text": f"the store was set aside as {damage.set_aside}: {damage.error}" if damage.set_aside else damage.error,
            "prev_epoch": damage.epoch,
            "saved": damage.saved,
            "remedy": "events that the receiver misses may still be in the file that was set aside; check the disk",
        }
        self._log.critical("store.damaged", set_aside=damage.set_aside, error=damage.error, saved=damage.saved)
        now = self._clock.now()
        events = [ProductionEvent(type="agent.fault", time=now, data=data)]
        if damage.unknown:
            events.append(unknown_loss(now))
        return events

    async def store_opened(self, since: int, kept: int, dropped: int) -> None:
        """Say that the store could not be opened from plant time ``since`` until now: how many batches waited in memory, how many did not fit."""
        now = self._clock.now()
        data: dict[str, Any] = {
            "code": "store_unavailable",
            "action": "cleared",
            "severity": 900,
            "text": f"the store could not be opened for {(now - since) / 1e9:.1f} s; {kept} batches waited in memory, {dropped} did not fit",
            "interval": [iso(since), iso(now)],
            "remedy": "check the disk of the gateway",
        }
        await self.write(ProductionEvent(type="agent.fault", time=now, data=data))

    async def stopped(self) -> None:
        """Say that the agent stops on purpose."""
        await self.write(ProductionEvent(type="agent.stopped", time=self._clock.now(), data={"reason": "signal"}), stopped=True)

    async def deliver(self, batch: Batch) -> None:
        """Write what the notices of a batch mean for the agent's stream."""
        offset = next((notice.offset for notice in batch.before if isinstance(notice, ClockOffset)), None)
        boot = next((notice for notice in batch.before if isinstance(notice, Boot)), None)
        for notice in (*batch.before, *batch.after):
            if isinstance(notice, Settled):
                for over in self._tags.settled(notice):
                    await self.write(over)
                continue
            event = self._event(notice, offset, boot)
            if event is not None:
                await self.write(event)
        for step in self._clocks.seen(batch):
            self._log.warning("clock.stepped", device=step.device, step_ms=(step.after - step.before) / 1e6)
            await self.clock_stepped(step.before, step.after, device=step.device)

    def _event(self, notice: Notice, offset: int | None, boot: Boot | None) -> ProductionEvent | None:
        match notice:
            case DeviceUp():
                self._tags.up(notice.device)
                return self._connected(notice, offset, boot)
            case DeviceDown():
                self._down_since[notice.device] = notice.time
                last_good = None if notice.last_good is None else iso(notice.last_good)
                data = self._device(notice.device) | {"last_good_at": last_good, "error": notice.error}
                data |= {"reason": "config"} if notice.device in self.leaving else {}
                return ProductionEvent(type="device.disconnected", time=notice.time, data=data)
            case TagStatus():
                return self._tags.event(notice)
            case Undeclared():
                return self._undeclared(notice)
            case Polled():
                return self._polled(notice)
            case DeviceFault():
                return self._faults.event(notice)
            case Gap() | Boot() | ClockOffset() | Recovered():
                return None  # told in the streams of the units that read the device
        return None

    def _undeclared(self, notice: Undeclared) -> ProductionEvent | None:
        """Tell once, and again when it has changed, that a device has variables that were meant to be tags."""
        said = (notice.count, notice.paths)
        if self._meant.get(notice.device, (0, ())) == said:
            return None
        self._meant[notice.device] = said
        data = {
            "code": "tags_undeclared",
            "device": notice.device,
            "action": "raised" if notice.count else "cleared",
            "text": notice.detail,
            "tags": list(notice.paths),
            "count": notice.count,
            "severity": 200,
            "remedy": "declare them with edge-agent browse --add, or leave them out with exclude under tags_from",
        }
        return ProductionEvent(type="device.fault", time=notice.time, data=data)

    def _polled(self, notice: Polled) -> ProductionEvent | None:
        """Tell once, and again when it has changed, which tags of a device are polled."""
        said = (notice.count, notice.names)
        if self._polls.get(notice.device, (0, ())) == said:
            return None
        self._polls[notice.device] = said
        data = {
            "code": "tags_polled",
            "device": notice.device,
            "action": "raised" if notice.count else "cleared",
            "text": notice.detail,
            "tags": list(notice.names),
            "count": notice.count,
            "severity": 200,
            "remedy": "let the server take more monitored items or subscriptions, or collect fewer tags",
        }
        return ProductionEvent(type="device.fault", time=notice.time, data=data)

    def _connected(self, notice: DeviceUp, offset: int | None, boot: Boot | None) -> ProductionEvent:
        since = self._down_since.pop(notice.device, None)
        data = self._device(notice.device) | {
            "boot_id": None if boot is None else boot.boot_id,
            "down_s": None if since is None else (notice.time - since) / 1e9,
            "plc_clock_offset_ms": None if offset is None else offset / 1e6,
        }
        return ProductionEvent(type="device.connected", time=notice.time, data=data)

    def _device(self, name: str) -> dict[str, Any]:
        driver, endpoint = self.devices[name]
        return {"device": name, "driver": driver, "endpoint": endpoint}

    def raised(self) -> list[tuple[str, str, str]]:
        """Return the faults of tags that are raised now: code, of what, text."""
        said = (("tags_undeclared", self._meant), ("tags_polled", self._polls))
        return self._tags.raised() + [
            (code, f"device {device}", f"{count} tags, the first of them {', '.join(names[:3])}")
            for code, told in said
            for device, (count, names) in told.items()
            if count
        ]

    async def clock_stepped(self, before: int, after: int, *, cause: str = "unknown", device: str | None = None) -> None:
        """Say that a clock jumped; offsets in ns: the gateway's against the monotonic clock, a device's against the gateway's."""
        data = {
            "which": "agent" if device is None else "device",
            **({} if device is None else {"device": device}),
            "offset_before_ms": before / 1e6,
            "offset_after_ms": after / 1e6,
            "step_ms": (after - before) / 1e6,
            "cause": cause,
        }
        await self.write(ProductionEvent(type="clock.stepped", time=self._clock.now(), data=data))

    async def write(self, event: ProductionEvent, *, stopped: bool = False) -> None:
        """Append one event to the agent's stream; tries again until the store takes it."""
        await self._write([event], self._buffer.append, stopped=stopped)

    async def _write(
        self,
        events: Sequence[ProductionEvent],
        append: Callable[[Sequence[Entry], Checkpoint], Awaitable[Custody]],
        *,
        stopped: bool = False,
    ) -> None:
        now = self._clock.now()
        clock: ClockState = "synced" if self.trust is None else self.trust.state
        entries = [
            encode(event, stream=self._stream, prefix=self._prefix, recorded=now, cfg=self._cfg, clock=clock) for event in events
        ]
        state = {"stopped": b"true" if stopped else b"false", _CFG: self._cfg.encode()}
        while True:
            try:
                await append(entries, Checkpoint(self._stream, state, now))
            except StorageError as error:
                self._log.error("journal.not_stored", event_type=events[0].type, reason=str(error))
                await asyncio.sleep(0.5)
            else:
                self.made.update(entry.type for entry in entries)
                return

    async def heartbeat(self) -> None:
        """Store that the agent is alive now. Raises StorageError.

        Not caught as everywhere else: a disk in trouble raises nothing, so it means that the buffer's writer has ended. Whoever else appends
        asks again for ever, and without a broker nobody else notices; this ends the agent, and the next one opens the store anew.
        """
        await self._buffer.append([], Checkpoint(self._stream, {}, self._clock.now()))
