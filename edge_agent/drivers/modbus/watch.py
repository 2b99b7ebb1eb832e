"""Report by exception: what is new in a block since it was last reported.

Rows are made for changed values and changed qualities only; a value that moved less than its deadband is not reported, and is compared
with the last *reported* value, so slow drift is seen. A reply with the same bytes as before costs one comparison. A "full" reading (the
first after a connect, after anything was discarded, and those asked for by ``poll_at``) reports every tag.
"""

from __future__ import annotations

from edge_agent.drivers.modbus.decode import Decoder, Raw, Sample, changed
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.twice import NONE, UNSTEADY
from edge_agent.model.reading import Batch, Quality


class Watch:
    """One block of a device and what was last reported of it."""

    def __init__(self, block: Block) -> None:
        """Compile the decoder; nothing was reported yet.

        ``handed_on`` is when its last answer that reached the reader arrived; ``refused`` the exception that only a person can end, and
        ``ask_again`` when to look whether somebody did (all plant time).
        """
        self.block = block
        self.refused: str | None = None
        self.ask_again = 0
        self.handed_on: int | None = None
        self.raw: bytes | None = None
        self._decoder = Decoder(block)
        self._slots: tuple[Raw, ...] | None = None
        self._unsteady = NONE
        self._last: list[Sample | None] = [None] * len(block.fields)

    @property
    def good(self) -> bool:
        """Whether any tag of the block has a good value."""
        return any(sample is not None and sample[1] is not Quality.BAD for sample in self._last)

    def forget(self) -> None:
        """Report everything at the next reading: what was reported last did not arrive."""
        self.raw = self._slots = None
        self._last = [None] * len(self._last)

    def answered(self, raw: bytes, batch: Batch, unsteady: frozenset[int] = NONE) -> None:
        """Add to ``batch`` the rows that the data bytes of a reply make necessary; the fields at the places ``unsteady`` have no value in it."""
        if unsteady or self._unsteady:
            self._guarded(raw, batch, unsteady)
            return
        if raw == self.raw:
            return
        slots, before = self._decoder.unpack(raw), self._slots
        self.raw, self._slots = raw, slots
        for position, (slot, convert) in enumerate(self._decoder.columns):
            if before is None or before[slot] != slots[slot]:
                self._report(position, convert(slots[slot]), batch)

    def _guarded(self, raw: bytes, batch: Batch, unsteady: frozenset[int]) -> None:
        self.raw, self._slots, self._unsteady = raw, self._decoder.unpack(raw), unsteady
        for position, (slot, convert) in enumerate(self._decoder.columns):
            self._report(position, UNSTEADY if position in unsteady else convert(self._slots[slot]), batch)

    def failed(self, detail: str, batch: Batch) -> None:
        """Add rows that say why the block has no values."""
        self.raw = self._slots = None
        for position in range(len(self._last)):
            self._report(position, (None, Quality.BAD, detail), batch)

    def _report(self, position: int, sample: Sample, batch: Batch) -> None:
        field, last = self.block.fields[position], self._last[position]
        if last is None or changed(last, sample, field.deadband):
            self._last[position] = sample
            add_row(batch, field.index, sample)

    def last(self, index: int) -> Sample | None:
        """Return what was last reported of the tag with this index, None when nothing was."""
        for position, field in enumerate(self.block.fields):
            if field.index == index:
                return self._last[position]
        return None

    def samples(self) -> dict[int, Sample]:
        """Return every tag of the last reply by its index, whatever was reported; empty when the block has no values."""
        if self.raw is None:
            return {}
        decoded = self._decoder.samples(self.raw)
        return {
            field.index: UNSTEADY if place in self._unsteady else sample
            for place, (field, sample) in enumerate(zip(self.block.fields, decoded, strict=True))
        }


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
