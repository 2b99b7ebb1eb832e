"""A plant that does what a script says, seen by an agent the way drivers show it: a batch per device and instant, notices, a tick a second.

The plant goes on whether somebody looks or not: what is set while a device is unreachable or the agent is away is what the first read after that
finds. A connection begins with one read of everything that has been set so far. The trigger groups of the units are read as the drivers do it.
Instants are UTC ns; nothing here knows what an event is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from edge_agent.events.catalog import wiring_of
from edge_agent.events.derive import Tick
from edge_agent.events.mescontext import DEVICE
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, Boot, DeviceDown, DeviceUp, Notice, Quality, Snapshot, Value
from edge_agent.ports import Trigger
from edge_agent.replay.line import Line
from edge_agent.replay.recording import Given


class Sample(msgspec.Struct, frozen=True):
    """What a tag shows: its value, its quality, and why it is not good."""

    value: Value | None
    quality: Quality = Quality.GOOD
    detail: str | None = None


BAD = Sample(None, Quality.BAD)


class _Device(msgspec.Struct):
    """One device as it is: what its tags show since when (UTC ns), and whether the agent is connected to it."""

    places: dict[str, int]
    clocked: bool
    triggers: tuple[Trigger, ...]
    shown: dict[str, tuple[Sample, int]] = msgspec.field(default_factory=dict)
    up: bool = False
    cut: bool = False
    boot: int | str | None = None
    last_good: int | None = None


class Plant:
    """Turns what a script says into what an agent is handed; every method returns that, and time never goes back."""

    def __init__(self, line: Line, start: int, *, every: int = NS) -> None:
        """Begin at ``start``, with nothing shown and the agent running; a tick comes each ``every`` ns, as of an agent that has little to do."""
        self._every = every
        self._now = start
        self._ticked = start
        self._since: int | None = None
        self._boundaries = [line.fold(unit).next_boundary for unit in line.units]
        triggers: dict[str, list[Trigger]] = {}
        for unit in line.units:
            for device, wired in wiring_of(unit).items():
                triggers.setdefault(device, []).extend(wired.triggers)
        self._devices = {
            device: _Device({tag.name: at for at, tag in enumerate(tags)}, device in line.clocked, tuple(triggers.get(device, ())))
            for device, tags in line.devices.items()
        }

    # -- time ----------------------------------------------------------------------------------------------------

    def until(self, time: int) -> Iterator[Tick]:
        """Let time pass up to ``time``; the tick of ``time`` itself comes behind what happens then. Raises ValueError for a time that is past."""
        if time < self._now:
            raise ValueError(f"it is {(self._now - time) / NS:g} s later already")
        self._now = time
        if self._since is not None:
            self._ticked = max(self._ticked, time - 1)
        while (following := self._following()) < time:
            self._ticked = following
            yield Tick(following)

    def leap(self, time: int) -> Iterator[Tick]:
        """Have the agent's clock set forward to ``time``: what comes next comes then, and nothing in between. Raises ValueError for a time that is past."""
        if time < self._now:
            raise ValueError(f"it is {(self._now - time) / NS:g} s later already")
        yield from self.end()
        self._now = self._ticked = time

    def end(self, *, final: bool = False) -> Iterator[Tick]:
        """Return what belongs to the last instant: its tick, and with ``final`` the one of a shutdown."""
        if self._since is None and self._following() == self._now:
            self._ticked = self._now
            yield Tick(self._now)
        if final and self._since is None:
            yield Tick(self._now, final=True)

    def _following(self) -> int:
        """Return the next instant that gets a tick: a whole second (of ``every``), or a boundary that a unit declared."""
        boundaries = [found for boundary in self._boundaries if (found := boundary(self._ticked)) is not None]
        return min([self._ticked // self._every * self._every + self._every, *boundaries])

    def preset(self, device: str, samples: Mapping[str, Sample]) -> None:
        """Have tags of a device show something before anybody looks."""
        self._devices[device].shown |= {name: (sample, self._now) for name, sample in samples.items()}

    # -- what happens --------------------------------------------------------------------------------------------

    def show(
        self, device: str, samples: Mapping[str, Sample], *, sampled: int | None = None, notices: Sequence[Notice] = ()
    ) -> Iterator[Given]:
        """Have tags of a device (names inside it) show new samples, sampled now unless ``sampled`` says when. Connects at the first time."""
        known, now = self._devices[device], self._now
        at = now if sampled is None else sampled
        old = {name: known.shown.get(name) for name in samples}
        known.shown |= {name: (sample, at) for name, sample in samples.items()}
        if self._since is not None or known.cut:
            return
        if not known.up:
            yield self._connected(device, notices)
            return
        fired = [
            group
            for group in known.triggers
            if group.trigger in samples and ((was := old[group.trigger]) is None or was[0] != samples[group.trigger])
        ]
        yield self._batch(device, list(samples), fired, tuple(notices))

    def history(self, device: str, rows: Sequence[tuple[int, str, Sample]], notices: Sequence[Notice] = ()) -> Iterator[Given]:
        """Have the device back with what it sampled while nobody listened, (instant, tag, sample), oldest first; then everything is read once.

        The last sample of a tag is what it shows, unless it has shown something newer since.
        """
        known, now = self._devices[device], self._now
        batch = Batch(device, now, historical=True)
        for at, name, sample in rows:
            batch.tags.append(known.places[name])
            batch.values.append(sample.value)
            batch.quality.append(sample.quality)
            batch.source.append(at)
            batch.server.append(at)
            if name not in known.shown or known.shown[name][1] <= at:
                known.shown[name] = (sample, at)
        boot = () if known.boot is None else (Boot(device, now, known.boot),)
        batch.before = (DeviceUp(device, now), *boot, *notices)
        known.up, known.cut = True, False
        yield batch
        yield self._batch(device, list(known.shown), (), ())

    def cut(self, device: str, error: str = "no answer") -> Iterator[Given]:
        """Lose the connection to a device; it goes on by itself."""
        known = self._devices[device]
        was, known.up, known.cut = known.up, False, True
        if was and self._since is None:
            yield Batch(device, self._now, before=(DeviceDown(device, self._now, known.last_good, error),))

    def join(self, device: str, notices: Sequence[Notice] = ()) -> Iterator[Given]:
        """Have the device back: everything is read once. ``notices`` come behind the one that it is back."""
        known = self._devices[device]
        known.cut = False
        if self._since is None and not known.up:
            yield self._connected(device, notices)

    def boot(self, device: str, boot: int | str) -> Iterator[Given]:
        """Have the device show another boot counter: it restarted."""
        known = self._devices[device]
        known.boot = boot
        if known.up and self._since is None:
            yield Batch(device, self._now, before=(Boot(device, self._now, boot),))

    def note(self, *notices: Notice) -> Iterator[Given]:
        """Have the driver of a device say something else."""
        if self._since is None:
            for notice in notices:
                if not isinstance(notice, AgentDown):
                    yield Batch(notice.device, self._now, before=(notice,))

    def stop_agent(self, *, final: bool) -> Iterator[Given]:
        """Stop the agent: in order (``final``), or by a kill."""
        if self._since is None:
            yield from self.end(final=final)
            self._since = self._now

    def start_agent(self) -> Iterator[Given]:
        """Start the agent again: it connects to everything that it can reach."""
        if self._since is None:
            return
        yield AgentDown(self._since, self._now)
        self._since = None
        self._ticked = max(self._ticked, self._now - 1)
        for device, known in self._devices.items():
            known.up = False
            if known.shown and not known.cut:
                yield self._connected(device, ())
            elif known.shown:
                yield Batch(device, self._now, before=(DeviceDown(device, self._now, None, "no answer"),))

    # -- batches -------------------------------------------------------------------------------------------------

    def _connected(self, device: str, notices: Sequence[Notice]) -> Batch:
        known, now = self._devices[device], self._now
        known.up = True
        if device == DEVICE:  # what is retained at the broker comes again; it is no connection to a machine
            return self._batch(device, list(known.shown), (), ())
        boot = () if known.boot is None else (Boot(device, now, known.boot),)
        whole = [group for group in known.triggers if group.trigger in known.shown]
        return self._batch(device, list(known.shown), whole, (DeviceUp(device, now), *boot, *notices))

    def _batch(self, device: str, names: Sequence[str], groups: Sequence[Trigger], notices: tuple[Notice, ...]) -> Batch:
        known, now = self._devices[device], self._now
        batch, snapshots = Batch(device, now, before=notices), []
        for name in names:
            self._row(batch, known, name)
        for group in groups:
            first = len(batch)
            for name in group.tags:
                if name in known.shown:
                    self._row(batch, known, name)
            snapshots.append(Snapshot(group.name, first, len(batch)))
        batch.snapshots = tuple(snapshots)
        good = [known.shown[name][1] if known.clocked else now for name in names if known.shown[name][0].quality != Quality.BAD]
        known.last_good = max([*good, known.last_good or 0]) or None
        return batch

    @staticmethod
    def _row(batch: Batch, device: _Device, name: str) -> None:
        sample, at = device.shown[name]
        if sample.detail is not None:
            batch.details[len(batch)] = sample.detail
        batch.tags.append(device.places[name])
        batch.values.append(sample.value)
        batch.quality.append(sample.quality)
        batch.source.append(at if device.clocked else 0)
        batch.server.append(at if device.clocked else 0)
