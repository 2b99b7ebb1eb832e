"""Records that a machine hands over one by one, by sequence number, and the door to the other patterns.

``seq_ack``: the PLC fills the record, sets Seq last, and holds the record until Ack = Seq. The agent reads the whole record in one
request, accepts it when Seq and SeqEnd agree and the key is new, and acknowledges after the commit; a record that it knows is dropped
*and acknowledged again*, because the PLC shows it only while the acknowledgement was lost. A record that stands there without its
acknowledgement, though it is safe, is acknowledged again as time passes. ``seq`` is the same without an
acknowledgement: what the PLC overwrites between two reads is lost, and declared.

A record that is caught half written (Seq and SeqEnd differ) is left alone. Nobody re-reads it: SeqEnd is the trigger of the group and is
written last, so that the read that counts comes when the record is whole.

The key of a record is (device, generation, seq). The generation grows when the device restarted or seq ran backwards, so that a PLC that
starts at 1 again never looks like an old record; a record that merely survived a restart is recognised by its content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.events.handover import TriggerRule
from edge_agent.events.recordconfig import RecordConfig, RecordFields
from edge_agent.events.recorddata import Content, Key, kept, overrun
from edge_agent.events.reference import check_references, device_of, name_of
from edge_agent.events.restart import BootMark, restarted
from edge_agent.events.ring import RingRule
from edge_agent.events.rule import Moment, Outcome, Phase, Rule
from edge_agent.events.tables import code_of
from edge_agent.model.event import Acknowledge, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Boot, Quality, Reading, Tag
from edge_agent.ports import Trigger

__all__ = ["RecordConfig", "RecordFields", "RecordRule", "acknowledge_tags", "build", "trigger"]

_AGAIN = 5 * NS
_AT_MOST = 300 * NS
"""An acknowledgement that the PLC does not show is written again after 5 s, then ever more rarely, at least every 5 min."""


class RecordMemory(msgspec.Struct, frozen=True):
    """The key accepted last, its content and time (UTC ns); ``seq`` None: none yet in this generation.

    ``before`` is the last seq of the generation before, which a record that survived a restart still carries. ``shown`` and ``acked`` are
    what Seq and Ack were last seen to be; ``asked`` is when (agent's UTC ns) and ``tries`` how often in vain Ack was written. ``serials`` are
    the units told last.
    """

    generation: int = 0
    seq: int | None = None
    before: int | None = None
    content: str = ""
    time: int = 0
    boot: BootMark = BootMark()
    shown: int | None = None
    acked: int | None = None
    asked: int = 0
    tries: int = 0
    serials: tuple[str, ...] = ()


class RecordRule:
    """Tells each record once and acknowledges what is known to be safe."""

    phase = Phase.RECORD
    version = 1
    state_type = RecordMemory

    def __init__(self, config: RecordConfig, name: str) -> None:
        """Take the records of the trigger group ``name``."""
        self.name = f"records.{name}"
        self.mark = self._seq = config.seq or ""
        self.tags = () if config.ack is None else (self._seq, config.ack)
        self.ticks = config.ack is not None
        self.fingerprint = f"{config.pattern} {config.seq}"
        self._config = config
        self._group = name
        self._device = device_of(self._seq)
        self._content = Content(config, name)

    def initial(self) -> RecordMemory:
        """No record seen."""
        return RecordMemory()

    def step(self, state: RecordMemory, moment: Moment) -> tuple[RecordMemory, Outcome]:
        """Fold one moment."""
        memory = state
        for notice in moment.notices:
            if isinstance(notice, Boot) and notice.device == self._device:
                memory = _booted(memory, notice)
        rows = moment.snapshots.get(self._group)
        memory = self._watch(memory, moment.readings if rows is None else rows)
        effects: list[Acknowledge] = []
        events: list[ProductionEvent] = []
        seq = self._whole(rows) if rows is not None else None
        if rows is not None and seq is not None:
            memory = self._record(memory, seq, rows, moment, events)
            memory = self._acknowledge(memory, rows[self._seq].at.agent, 0, effects)
        elif moment.tick and self._waits(memory, moment.time):
            memory = self._acknowledge(memory, moment.time, memory.tries + 1, effects)
        return (state if memory == state else memory), Outcome(tuple(events), tuple(effects))

    def _record(
        self, memory: RecordMemory, seq: int, rows: Mapping[str, Reading], moment: Moment, events: list[ProductionEvent]
    ) -> RecordMemory:
        """Tell a record whose key is new."""
        content, serial = self._content.text(rows), self._content.serial(rows)
        if self._known(memory, seq, content, rows):
            # in the first case below: a baseline, or the record that survived a restart
            return replace(memory, seq=seq, before=None, content=content) if memory.seq is None else memory
        if memory.seq is not None and seq < memory.seq:
            memory = replace(memory, generation=memory.generation + 1, seq=None, before=memory.seq)
        time = rows[self._seq].at.best
        events += self._overrun(memory, seq, time, moment)
        if serial is None or serial not in memory.serials:
            key = Key(memory.generation, seq)
            events.append(self._content.event(rows, key, moment, time=time, at=rows[self._seq].at))
        serials = kept(memory.serials, serial, self._config.remember)
        return replace(memory, seq=seq, before=None, content=content, time=time, serials=serials)

    # -- acknowledgement -----------------------------------------------------------------------------------------------------

    def _watch(self, memory: RecordMemory, readings: Mapping[str, Reading]) -> RecordMemory:
        """Note what Seq and Ack are seen to be."""
        shown, acked = code_of(_value(readings, self._seq)), code_of(_value(readings, self._config.ack))
        if isinstance(shown, int) and shown != memory.shown:
            memory = replace(memory, shown=shown)
        if isinstance(acked, int) and acked != memory.acked:
            memory = replace(memory, acked=acked)
        return memory

    def _waits(self, memory: RecordMemory, now: int) -> bool:
        """Whether the PLC still shows a record that is safe, because its acknowledgement was lost on the way."""
        if memory.seq is None or memory.shown != memory.seq or memory.acked in {None, memory.seq}:
            return False
        return now - memory.asked >= min(_AGAIN << min(memory.tries, 10), _AT_MOST)

    def _acknowledge(self, memory: RecordMemory, now: int, tries: int, effects: list[Acknowledge]) -> RecordMemory:
        """Have the number of the record that is safe written back."""
        if self._config.ack is None or memory.seq is None:
            return memory
        effects.append(Acknowledge(self._config.ack, memory.seq))
        return replace(memory, asked=now, tries=tries)

    # -- keys ----------------------------------------------------------------------------------------------------------------

    def _whole(self, rows: Mapping[str, Reading]) -> int | None:
        """Return the number of a record that is there and not half written."""
        seq = _value(rows, self._seq)
        end = seq if self._config.seq_end is None else _value(rows, self._config.seq_end)
        number = code_of(seq)
        return number if isinstance(number, int) and number > 0 and number == code_of(end) else None

    def _known(self, memory: RecordMemory, seq: int, content: str, rows: Mapping[str, Reading]) -> bool:
        """Whether this record needs no event: told before, or standing there when nothing was ever seen."""
        if memory.seq is not None:
            return seq == memory.seq
        if memory.before is not None:
            return seq == memory.before and content == memory.content
        if memory.generation > 0:
            return False
        if self._config.ack is None:
            return True
        return code_of(_value(rows, self._config.ack)) == seq

    # -- words ---------------------------------------------------------------------------------------------------------------

    def _overrun(self, memory: RecordMemory, seq: int, time: int, moment: Moment) -> list[ProductionEvent]:
        """Numbers that were passed over are records that nobody read; after a restart the PLC counts from 1, or simply goes on."""
        if memory.seq is None and (memory.generation == 0 or seq == (memory.before or 0) + 1):
            return []
        passed = seq - (memory.seq or 0) - 1
        if passed <= 0:
            return []
        least = passed if memory.seq is not None else 0
        return [overrun(self._seq, memory.time, time, least, passed, moment)]


def _booted(memory: RecordMemory, notice: Boot) -> RecordMemory:
    """A restart opens a new generation; the last number is kept, for the record may have survived it."""
    mark, restart = restarted(memory.boot, notice)
    if not restart:
        return memory if mark == memory.boot else replace(memory, boot=mark)
    before = memory.before if memory.seq is None else memory.seq
    return replace(memory, generation=memory.generation + 1, seq=None, before=before, boot=mark)


def _usable(rows: Mapping[str, Reading], ref: str) -> bool:
    reading = rows.get(ref)
    return reading is not None and reading.quality is not Quality.BAD and reading.value is not None


def _value(rows: Mapping[str, Reading], ref: str | None) -> Any:
    """Return a usable value, None for one that is missing or bad."""
    return rows[ref].value if ref is not None and _usable(rows, ref) else None


def trigger(config: RecordConfig, *, name: str) -> tuple[str, Trigger]:
    """Return the device and the trigger group of the entry ``name``: the tag written last fires it, everything is read at once."""
    refs = config.references.values()
    return device_of(config.key), Trigger(name, name_of(config.fires), tuple(dict.fromkeys(name_of(ref) for ref in refs)))


def acknowledge_tags(config: RecordConfig) -> frozenset[str]:
    """Return the names, inside the device, of the tags that the entry writes to: its acknowledgement or nothing."""
    return frozenset() if config.ack is None else frozenset({name_of(config.ack)})


def build(config: RecordConfig, *, unit: str, name: str, tags: Mapping[str, Tag]) -> tuple[Rule[Any], ...]:
    """Return the rule of the entry ``name``. Raises ValueError for an unknown tag, tags of several devices, or an ack not allow-listed."""
    where = f"unit {unit}, records.{name}"
    check_references([(f"{where}.{place}", ref) for place, ref in config.references.items()], tags)
    devices = sorted({device_of(ref) for ref in config.references.values()})
    if len(devices) > 1:
        raise ValueError(f"{where}: tags of {' and '.join(devices)}; a record is read in one request from one device")
    if config.ack is not None and not tags[config.ack].acknowledge:
        raise ValueError(f"{where}.ack: '{config.ack}' may not be written; add `acknowledge: true` to this tag of the device")
    if config.pattern == "ring":
        return (RingRule(config, name),)
    return (TriggerRule(config, name) if config.trigger is not None else RecordRule(config, name),)
