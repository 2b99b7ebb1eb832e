"""Records that a bit announces.

``trigger_ack``: the PLC fills the record, puts the trigger on and holds both until the acknowledgement; the agent reads everything in one
request, believes it while the trigger is on in that very read, acknowledges after the commit, and takes its acknowledgement back when the
trigger has fallen. A record that stands there again is the same one, and is acknowledged again, until the trigger was seen to fall.

``edge``: the same without an acknowledgement, so at most once: what comes and goes between two reads is not seen (``guarantee:
best_effort`` in its events).

The PLC gives such records no number: the key is (device, generation, the time in us at which it was read first).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.events.recordconfig import RecordConfig
from edge_agent.events.recorddata import Content, Key, kept, overrun
from edge_agent.events.reference import device_of
from edge_agent.events.restart import BootMark, restarted
from edge_agent.events.rule import Moment, Outcome, Phase
from edge_agent.events.sight import usable
from edge_agent.model.event import Acknowledge, ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, Quality, Reading, Timestamps

_AGAIN = 5 * NS
_AT_MOST = 300 * NS
"""An acknowledgement that the PLC does not show is written again after 5 s, then ever more rarely, at least every 5 min."""


class TriggerMemory(msgspec.Struct, frozen=True):
    """Whether the trigger is on (None: never seen), as the record under it was taken; its key, content, and the serials told last.

    ``rose`` is when the trigger was seen to go on, until its record is read (UTC ns); ``blind`` that it may have fallen and risen unseen.
    ``acked`` is what the acknowledgement was last seen to be; ``asked`` when (agent's UTC ns) and ``tries`` how often in vain it was written.
    """

    up: bool | None = None
    rose: int | None = None
    blind: bool = False
    generation: int = 0
    seq: int = 0
    content: str = ""
    boot: BootMark = BootMark()
    acked: bool | None = None
    asked: int = 0
    tries: int = 0
    serials: tuple[str, ...] = ()


class TriggerRule:
    """Tells each record once; with an acknowledgement, takes part in the handshake."""

    phase = Phase.RECORD
    version = 1
    state_type = TriggerMemory

    def __init__(self, config: RecordConfig, name: str) -> None:
        """Take the records of the trigger group ``name``."""
        self.name = f"records.{name}"
        self.mark = self._trigger = config.trigger or ""
        self.tags = (self._trigger,) if config.ack is None else (self._trigger, config.ack)
        self.ticks = config.ack is not None
        self.fingerprint = f"{config.pattern} {self._trigger}"
        self._config, self._group = config, name
        self._content = Content(config, name)

    def initial(self) -> TriggerMemory:
        """Nothing seen."""
        return TriggerMemory()

    def step(self, state: TriggerMemory, moment: Moment) -> tuple[TriggerMemory, Outcome]:
        """Fold one moment: what is sampled, then what was read together, then what waits for too long."""
        events, effects = list[ProductionEvent](), list[Acknowledge]()
        memory = self._noticed(state, moment)
        memory = self._acked(memory, moment.readings)
        sampled = moment.readings.get(self._trigger)
        if sampled is not None and usable(sampled):
            memory = self._sampled(memory, sampled, moment, events, effects)
        rows = moment.snapshots.get(self._group)
        if rows is not None and (read := rows.get(self._trigger)) is not None and usable(read):
            memory = self._acked(memory, rows)
            memory = self._read(memory, rows, read, moment, events, effects)
        elif moment.tick and self._waits(memory, moment.time):
            memory = self._write(memory, moment.time, memory.tries + 1, effects)
        return (state if memory == state else memory), Outcome(tuple(events), tuple(effects))

    def _noticed(self, memory: TriggerMemory, moment: Moment) -> TriggerMemory:
        device = device_of(self._trigger)
        for notice in moment.notices:
            if isinstance(notice, Boot) and notice.device == device:
                mark, again = restarted(memory.boot, notice)
                memory = replace(memory, boot=mark, generation=memory.generation + again, blind=memory.blind or again)
            elif isinstance(notice, AgentDown) or (isinstance(notice, DeviceDown) and notice.device == device):
                memory = replace(memory, blind=True, rose=None)  # what the loss hid is declared with the loss
        return memory

    def _sampled(
        self, memory: TriggerMemory, reading: Reading, moment: Moment, events: list[ProductionEvent], effects: list[Acknowledge]
    ) -> TriggerMemory:
        """Take in a sample of the trigger alone: a rise announces a record, which comes with its own read."""
        if not reading.value:
            return self._fell(memory, reading.at, moment, events, effects)
        return replace(memory, rose=reading.at.best) if memory.up is False and memory.rose is None else memory

    def _read(
        self,
        memory: TriggerMemory,
        rows: Mapping[str, Reading],
        read: Reading,
        moment: Moment,
        events: list[ProductionEvent],
        effects: list[Acknowledge],
    ) -> TriggerMemory:
        """Take in everything as it was read together."""
        late = not read.value and memory.rose is not None and self._config.ack is None
        if not read.value and not late:
            return self._fell(memory, read.at, moment, events, effects)
        content = self._content.text(rows)
        if self._new(memory, content):
            memory = self._told(memory, rows, read.at, moment, events, late=late)
        memory = replace(memory, up=not late, rose=None, blind=False, content=content)
        return self._write(memory, read.at.agent, 0, effects)

    def _new(self, memory: TriggerMemory, content: str) -> bool:
        if memory.up is False:
            return True
        if self._config.ack is None:
            return False
        if memory.up is None:
            return memory.acked is False  # nobody has taken it: it is no baseline, but a record that waits
        return memory.blind and content != memory.content

    def _told(
        self,
        memory: TriggerMemory,
        rows: Mapping[str, Reading],
        at: Timestamps,
        moment: Moment,
        events: list[ProductionEvent],
        *,
        late: bool,
    ) -> TriggerMemory:
        time = at.best if memory.rose is None else min(memory.rose, at.best)
        seq, serial = max(time // 1000, memory.seq + 1), self._content.serial(rows)
        if serial is None or serial not in memory.serials:
            more: dict[str, Any] = {"quality": Quality.UNCERTAIN} if late else {}
            events.append(self._content.event(rows, Key(memory.generation, seq), moment, time=time, at=at, **more))
        return replace(memory, seq=seq, serials=kept(memory.serials, serial, self._config.remember))

    def _fell(
        self, memory: TriggerMemory, at: Timestamps, moment: Moment, events: list[ProductionEvent], effects: list[Acknowledge]
    ) -> TriggerMemory:
        """The trigger is off: a record that was announced and never read is lost; the acknowledgement goes back."""
        if memory.rose is not None:
            if self._config.ack is None:
                return memory  # its read is on the way
            events.append(overrun(self._trigger, memory.rose, at.best, 1, 1, moment))
        was = memory.up
        memory = replace(memory, up=False, rose=None, blind=False)
        return self._write(memory, at.agent, 0, effects) if was or (was is None and memory.acked) else memory

    # -- acknowledgement -----------------------------------------------------------------------------------------------------

    def _acked(self, memory: TriggerMemory, readings: Mapping[str, Reading]) -> TriggerMemory:
        reading = None if self._config.ack is None else readings.get(self._config.ack)
        if reading is None or not usable(reading) or memory.acked is bool(reading.value):
            return memory
        return replace(memory, acked=bool(reading.value))

    def _waits(self, memory: TriggerMemory, now: int) -> bool:
        """Whether the PLC shows another acknowledgement than the one it was given: that was lost on the way."""
        if memory.up is None or memory.acked is None or memory.acked is memory.up or memory.rose is not None:
            return False
        return now - memory.asked >= min(_AGAIN << min(memory.tries, 10), _AT_MOST)

    def _write(self, memory: TriggerMemory, now: int, tries: int, effects: list[Acknowledge]) -> TriggerMemory:
        """Have the acknowledgement follow the trigger."""
        if self._config.ack is None or memory.up is None:
            return memory
        effects.append(Acknowledge(self._config.ack, memory.up))
        return replace(memory, asked=now, tries=tries)
