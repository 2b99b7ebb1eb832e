"""Records in a ring buffer: the PLC writes record k to slot k mod N and then counts its write index up.

The agent reads on from its own place and writes nothing: no record is lost while it is not more than N behind, and what is overrun is
declared with its number. Everything is read in one request. The slot that the PLC fills next may be half new: when the ring is full, its
oldest record is told as uncertain.

The key of a record is (device, generation, k); k goes on over a wrap of the index. An index that ran backwards was begun anew: the generation
grows, and all that is in the ring is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.events.advance import modulus_of
from edge_agent.events.recordconfig import RecordConfig
from edge_agent.events.recorddata import Content, Key, kept, overrun
from edge_agent.events.reference import device_of
from edge_agent.events.restart import BootMark, restarted
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase
from edge_agent.events.sight import number_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import Boot, Quality, Reading


class RingMemory(msgspec.Struct, frozen=True):
    """How many records were taken (it goes on over wraps; None: nothing seen), when, and the serials told last."""

    taken: int | None = None
    generation: int = 0
    time: int = 0
    boot: BootMark = BootMark()
    serials: tuple[str, ...] = ()


class RingRule:
    """Tells every record of a ring once."""

    phase = Phase.RECORD
    ticks = False
    version = 1
    state_type = RingMemory

    def __init__(self, config: RecordConfig, name: str) -> None:
        """Take the records of the trigger group ``name``."""
        self.name = f"records.{name}"
        self.mark = self._index = config.write_index or ""
        self.tags = (self._index,)
        self.fingerprint = f"ring {self._index} {config.size} {config.wraps}"
        self._modulus = modulus_of(config.wraps) if config.wraps else None
        self._size, self._slots = config.size or 1, config.slots
        self._config, self._group = config, name
        self._content = Content(config, name)

    def initial(self) -> RingMemory:
        """Nothing seen."""
        return RingMemory()

    def step(self, state: RingMemory, moment: Moment) -> tuple[RingMemory, Outcome]:
        """Fold one moment; the first index is a baseline."""
        memory = state
        for notice in moment.notices:
            if isinstance(notice, Boot) and notice.device == device_of(self._index):
                mark, again = restarted(memory.boot, notice)
                memory = replace(memory, boot=mark, generation=memory.generation + again)
        rows = moment.snapshots.get(self._group)
        index = None if rows is None else number_of(rows, self._index)
        if rows is None or index is None or index != int(index) or not self._fits(int(index)):
            return (state if memory == state else memory), NOTHING
        events: list[ProductionEvent] = []
        memory = self._taken(memory, int(index), rows, moment, events)
        return (state if memory == state else memory), Outcome(tuple(events)) if events else NOTHING

    def _fits(self, index: int) -> bool:
        return index >= 0 and (self._modulus is None or index < self._modulus)

    def _written(self, memory: RingMemory, taken: int, index: int) -> tuple[RingMemory, int, int]:
        """Return the memory, how many records were taken and written; a new generation where the index ran backwards."""
        ahead = index - taken if self._modulus is None else (index - taken) % self._modulus
        if ahead < 0 or (self._modulus is not None and ahead > self._modulus // 2):
            return replace(memory, generation=memory.generation + 1), 0, index
        return memory, taken, taken + ahead

    def _taken(
        self, memory: RingMemory, index: int, rows: Mapping[str, Reading], moment: Moment, events: list[ProductionEvent]
    ) -> RingMemory:
        """Tell everything between the agent's place and the index."""
        at = rows[self._index].at
        if memory.taken is None:
            return replace(memory, taken=index, time=at.best)
        memory, taken, written = self._written(memory, memory.taken, index)
        if taken == written:
            return memory if memory.taken == taken else replace(memory, taken=taken)
        first = max(taken, written - self._size)
        if first > taken:
            events.append(overrun(self._index, memory.time, at.best, first - taken, first - taken, moment))
        serials = memory.serials
        for number in range(first, written):
            slot = self._slots[(number if self._modulus is None else number % self._modulus) % self._size]
            serial = self._content.serial(rows, slot)
            if serial is None or serial not in serials:
                more: dict[str, Any] = {"quality": Quality.UNCERTAIN} if number == written - self._size else {}
                if self._config.time is None and written - first > 1:
                    more["interval"] = (min(memory.time, at.best), at.best)
                key = Key(memory.generation, number)
                events.append(self._content.event(rows, key, moment, time=at.best, at=at, slot=slot, **more))
            serials = kept(serials, serial, self._config.remember)
        return replace(memory, taken=written, time=at.best, serials=serials)
