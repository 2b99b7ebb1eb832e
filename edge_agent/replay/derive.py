"""A recording derived again: every input through the folds of its units, the way the agent does it, and each event as one line of JSON.

With ``restarts`` the state of every unit goes through its stored form into a new fold after every single input: what is stored with each commit must
carry everything that matters. What the intake still holds (readings that were not accepted, so their device tells them again) is handed
to the new fold as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import msgspec

from edge_agent.events.catalog import UnitConfig
from edge_agent.events.derive import Fold, Tick, Turn, UnitState
from edge_agent.events.encode import encode
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import MS, iso
from edge_agent.model.reading import AgentDown, Batch, Quality
from edge_agent.replay.line import Line, Scaling
from edge_agent.replay.recording import Given

_ENCODER = msgspec.json.Encoder()


class NotStoredError(EdgeAgentError):
    """A rule's stored state could not be read back: a restart would begin it anew."""


class Player:
    """One unit of a line, fed by hand: keeps what the agent would have stored, and can be restarted at any point."""

    def __init__(self, line: Line, unit: UnitConfig, *, settle: int | None = None) -> None:
        """Begin with an empty store."""
        self._line, self.unit, self._settle = line, unit, settle
        self.fold = self._made()
        self.state: UnitState = self.fold.start({})[0]
        self.stored: dict[str, bytes] = {}

    def _made(self) -> Fold:
        return self._line.fold(self.unit) if self._settle is None else self._line.fold(self.unit, settle=self._settle)

    def give(self, *inputs: Batch | Tick) -> Turn:
        """Fold inputs in one turn, and store what it changed."""
        turn = self.fold.fold(self.state, inputs)
        self.state = turn.state
        self.stored.update(turn.changed)
        return turn

    def restart(self) -> None:
        """Go on in a new fold from what was stored, knowing nothing else."""
        self.fold = self._made()
        self.state, dropped = self.fold.start(self.stored)
        if dropped:
            raise NotStoredError(f"unit {self.unit.unit}: the stored state of {', '.join(dropped)} cannot be read back")

    def revive(self) -> None:
        """Go on in a new fold from what was stored, with the same inputs still on their way."""
        old = self.state
        self.restart()
        self.state = msgspec.structs.replace(
            self.state, window=old.window, telemetry=old.telemetry, boundary=old.boundary, since=old.since, ticked=old.ticked
        )

    def away(self, absence: AgentDown) -> Turn:
        """Have the agent killed, and started again at the end of ``absence``."""
        self.restart()
        return self.give(Batch("", absence.until, before=(absence,)))


class Places:
    """Turns what a recording calls its tags into what the present configuration does: new places, and scaled values."""

    def __init__(self, line: Line, devices: Mapping[str, Sequence[str]]) -> None:
        """``devices`` are the names of the recorded tags by device, in the order that the recording indexes."""
        known = {device: {tag.name: place for place, tag in enumerate(tags)} for device, tags in line.devices.items()}
        self._places = {device: [known.get(device, {}).get(name) for name in names] for device, names in devices.items()}
        self._scalings = line.scalings
        self.unknown = [
            f"{device}.{name}" for device, names in devices.items() for name in names if name not in known.get(device, {})
        ]
        self.missing = [
            f"{device}.{name}" for device, names in known.items() for name in names if name not in devices.get(device, ())
        ]

    def batch(self, batch: Batch) -> Batch:
        """Return a recorded batch as a driver would hand it up now; rows of tags that are not declared are left out."""
        places, scalings = self._places[batch.device], self._scalings.get(batch.device)
        keep = [(row, place) for row, tag in enumerate(batch.tags) if (place := places[tag]) is not None]
        moved = {row: new for new, (row, _) in enumerate(keep)}
        values, quality = [batch.values[row] for row, _ in keep], [batch.quality[row] for row, _ in keep]
        if scalings is not None:
            for new, (_, place) in enumerate(keep):
                values[new], quality[new] = _scaled(values[new], quality[new], scalings[place])
        return msgspec.structs.replace(
            batch,
            tags=[place for _, place in keep],
            values=values,
            quality=quality,
            source=[batch.source[row] for row, _ in keep],
            server=[batch.server[row] for row, _ in keep],
            details={moved[row]: text for row, text in batch.details.items() if row in moved},
            snapshots=tuple(
                msgspec.structs.replace(part, start=first, stop=first + count)
                for part in batch.snapshots
                for first, count in [_inside(moved, part.start, part.stop)]
            ),
        )


def _scaled(value: Any, quality: int, scaling: Scaling) -> tuple[Any, int]:
    if value is None:
        return value, quality
    scaled = scaling(value)
    return (None, Quality.BAD) if scaled is None else (scaled, quality)


def _inside(moved: Mapping[int, int], start: int, stop: int) -> tuple[int, int]:
    """Return the first new row and the number of rows that are left of ``start`` to ``stop``."""
    left = [moved[row] for row in range(start, stop) if row in moved]
    return (left[0] if left else 0), len(left)


def derive(line: Line, given: Iterable[Given], *, restarts: bool = False) -> Iterator[bytes]:
    """Yield every event and acknowledgement of all units as a line of JSON, in the order of the inputs. Raises RuleError, NotStoredError."""
    players = [(Player(line, unit), line.readers(unit)) for unit in line.units]
    for one in given:
        for player, devices in players:
            if isinstance(one, AgentDown):
                yield from _told(player, player.away(one), line)
            elif isinstance(one, Tick) or one.device in devices:
                for part in _parts(one, player.state) if restarts and isinstance(one, Batch) else (one,):
                    yield from _told(player, player.give(part), line)
                    if restarts:
                        player.revive()


def _told(player: Player, turn: Turn, line: Line) -> Iterator[bytes]:
    name, now = player.unit.unit, turn.state.last_seen
    for event in turn.events:
        yield event_line(event, name, now, line.prefix)
    for effect in turn.effects:
        yield _ENCODER.encode({"unit": name, "acknowledge": effect.tag, "value": effect.value}) + b"\n"


def event_line(event: ProductionEvent, unit: str, now: int, prefix: str) -> bytes:
    """Return an event as derived, without what depends on the run (recordedtime, epoch, seq, the configuration's hash) and without an empty context."""
    entry = encode(event, stream=unit, recorded=now, cfg="", prefix=prefix)
    data = msgspec.json.decode(entry.body)
    del data["cfg"]
    data["ctx"] = {member: name for member, name in data["ctx"].items() if name is not None}  # new members change no old line
    told = {"unit": unit, "type": entry.type, "time": iso(entry.time)}
    told |= {
        key: name for key, name in (("correlationid", entry.correlation), ("causationid", entry.causation)) if name is not None
    }
    return _ENCODER.encode({**told, "data": data}) + b"\n"


def _parts(batch: Batch, state: UnitState) -> Sequence[Batch]:
    """Return a batch cut where one moment ends and the next begins, so that a restart comes after every single one.

    Left whole is what belongs together: the first rows after a connect, trigger groups, history, and stamps that do not rise.
    """
    clock = state.window.clocks.get(batch.device)
    times = [source or server or batch.received for source, server in zip(batch.source, batch.server, strict=True)]
    rising = all(earlier <= later for earlier, later in pairwise(times))
    together = batch.snapshots or batch.historical or not rising or clock is None or not clock.live or batch.before
    if together or len(set(times)) < 2 or times[-1] - times[0] > 1000 * MS:
        return (batch,)
    runs = [[row for row, _ in run] for _, run in groupby(enumerate(times), key=lambda item: item[1])]
    return [
        msgspec.structs.replace(
            batch,
            **{name: [getattr(batch, name)[row] for row in run] for name in ("tags", "values", "quality", "source", "server")},
            details={new: batch.details[row] for new, row in enumerate(run) if row in batch.details},
            after=batch.after if run is runs[-1] else (),
        )
        for run in runs
    ]
