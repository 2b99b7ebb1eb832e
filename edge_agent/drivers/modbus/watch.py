"""Report by exception: what is new in a block since it was last reported.

Rows are made for changed values and changed qualities only; a value that moved less than its deadband is not reported, and is compared
with the last *reported* value, so slow drift is seen. A reply with the same bytes as before costs one comparison. A "full" reading (the
first after a connect, after anything was discarded, and those asked for by ``poll_at``) reports every tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge_agent.drivers.modbus.decode import Decoder, Raw, Sample, changed
from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Block, Limits
from edge_agent.drivers.modbus.split import Split
from edge_agent.drivers.modbus.twice import NONE, UNSTEADY
from edge_agent.model.reading import Batch, Quality


class _Part:
    """One request by which a block, or what a split has left of it, is read, and the last answer to it: ``steady`` and ``slots`` are None after one with unsteady values."""

    def __init__(self, block: Block, positions: Mapping[int, int]) -> None:
        self.block = block
        self.decoder = Decoder(block)
        self.rows = [
            (positions[field.index], slot, convert, field.index, field.deadband)
            for field, (slot, convert) in zip(block.fields, self.decoder.columns, strict=True)
        ]
        self.forget()

    def forget(self) -> None:
        self.raw: bytes | None = None
        self.steady: bytes | None = None
        self.slots: tuple[Raw, ...] | None = None
        self.unsteady = NONE


class Watch:
    """One block of a device and what was last reported of it."""

    def __init__(self, block: Block, split: Split | None = None) -> None:
        """Compile the decoder; nothing was reported yet. ``split`` says by which requests the block is read (None: by one).

        ``handed_on`` is when its last answer that reached the reader arrived (plant time).
        """
        self.block = block
        self.name = block.name
        self.split = Split(block, Limits()) if split is None else split
        self.handed_on: int | None = None
        self._positions = {field.index: position for position, field in enumerate(block.fields)}
        self._whole = _Part(block, self._positions)
        self._parts: dict[tuple[int, int], _Part] = {}
        self._last: list[Sample | None] = [None] * len(block.fields)

    @property
    def good(self) -> bool:
        """Whether any tag of the block has a good value."""
        return any(sample is not None and sample[1] is not Quality.BAD for sample in self._last)

    def forget(self) -> None:
        """Report everything at the next reading: what was reported last did not arrive."""
        self._forget_answers()
        self._last = [None] * len(self._last)

    @property
    def whole(self) -> bool:
        """Whether the latest answers hold all of the block at one instant."""
        return self._whole.raw is not None

    def joined(self) -> None:
        """Compare the next answers with what was reported, not with those before: other requests bring the values from now on."""
        self._forget_answers()

    def _forget_answers(self) -> None:
        for part in (self._whole, *self._parts.values()):
            part.forget()

    def answered(self, raw: bytes, batch: Batch, unsteady: frozenset[int] = NONE, block: Block | None = None) -> None:
        """Add to ``batch`` the rows that the data bytes of a reply make necessary; ``block`` is the part that was read (None: the whole).

        The fields at the places ``unsteady`` of it have no value in the reply.
        """
        part = self._whole if block is None or block is self.block else self._part(block)
        if unsteady:
            self._guarded(part, raw, batch, unsteady)
            return
        if raw == part.steady:
            return
        slots, before, known = part.decoder.unpack(raw), part.slots, self._last
        part.raw, part.steady, part.slots, part.unsteady = raw, raw, slots, NONE
        for position, slot, convert, index, deadband in part.rows:
            if before is None or before[slot] != slots[slot]:
                sample, last = convert(slots[slot]), known[position]
                if last is None or changed(last, sample, deadband):
                    known[position] = sample
                    add_row(batch, index, sample)

    def _guarded(self, part: _Part, raw: bytes, batch: Batch, unsteady: frozenset[int]) -> None:
        slots = part.decoder.unpack(raw)
        part.raw, part.steady, part.slots, part.unsteady = raw, None, None, unsteady
        for place, (position, slot, convert, _, _) in enumerate(part.rows):
            self._report(position, UNSTEADY if place in unsteady else convert(slots[slot]), batch)

    def _part(self, block: Block) -> _Part:
        part = self._parts.get(_key(block))
        if part is None or part.block is not block:
            part = self._parts[_key(block)] = _Part(block, self._positions)
        return part

    def failed(self, detail: str, batch: Batch, fields: Iterable[Field] | None = None) -> None:
        """Add rows that say why ``fields`` (None: all of the block) have no values."""
        sample = (None, Quality.BAD, detail)
        failing = [self._positions[field.index] for field in (self.block.fields if fields is None else fields)]
        if all(self._last[position] == sample for position in failing):
            return
        self._forget_answers()
        for position in failing:
            self._report(position, sample, batch)

    def remind(self, batch: Batch) -> None:
        """Add rows for what is not read because the device refuses it, where they are not known to the reader."""
        for block, detail in self.split.bad:
            self.failed(detail, batch, block.fields)
        if fields := self.split.searching:
            self.failed(f"{self.block.name}: the device refuses an address in it; the agent is looking for it", batch, fields)

    def _report(self, position: int, sample: Sample, batch: Batch) -> None:
        field, last = self.block.fields[position], self._last[position]
        if last is None or changed(last, sample, field.deadband):
            self._last[position] = sample
            add_row(batch, field.index, sample)

    def holds(self, index: int) -> bool:
        """Whether the tag with this index is in the block."""
        return any(field.index == index for field in self.block.fields)

    def last(self, index: int) -> Sample | None:
        """Return what was last reported of the tag with this index, None when nothing was."""
        for position, field in enumerate(self.block.fields):
            if field.index == index:
                return self._last[position]
        return None

    def samples(self) -> dict[int, Sample]:
        """Return every tag of the last reply by its index, whatever was reported; empty when the block has no values."""
        whole = self._whole
        if whole.raw is None:
            return {}
        decoded = whole.decoder.samples(whole.raw)
        return {
            field.index: UNSTEADY if place in whole.unsteady else sample
            for place, (field, sample) in enumerate(zip(self.block.fields, decoded, strict=True))
        }


def _key(block: Block) -> tuple[int, int]:
    return block.address, block.count


def add_row(batch: Batch, index: int, sample: Sample) -> None:
    """Append one sample; Modbus has no times of its own, so the agent's ``received`` is the time of every row."""
    value, quality, detail = sample
    if detail is not None:
        batch.details[len(batch.tags)] = detail
    batch.tags.append(index)
    batch.values.append(value)
    batch.quality.append(quality)
    batch.source.append(0)
    batch.server.append(0)
