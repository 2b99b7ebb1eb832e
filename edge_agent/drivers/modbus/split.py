"""A block that the device refuses: which part of it is at fault, and how the rest is read from then on (pure).

A refused block (exceptions 1 to 3: devices do not agree on which) is halved until the values at fault are alone. One that is refused alone is bad, and is told so by name; where
both halves of a refused block answer, there is a place between them that no request may go over (a gap with nothing in it, the border
of two memories, or simply too many at once). When the search is over, the good values are planned anew around both, so that one bad
address costs one more request in a cycle and not one for each halving. What was found holds until the device shows that it has changed: a few bad
values at a time are asked for again now and then, and when one answers, everything found is looked at again. A place that no request may go
over is tried, too, but more rarely: a single refusal that meant nothing must not cost a request in each cycle for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edge_agent.drivers.modbus.excluded import Span
from edge_agent.drivers.modbus.field import Area, Field
from edge_agent.drivers.modbus.plan import Block, Limits, plan
from edge_agent.model.instant import NS

PROBES = 8
"""Most requests that the search for the addresses at fault in one block adds to one poll."""

RETRIES = 4
"""Most bad values of one block that are asked for again at a time."""

ASK_AGAIN = 30 * NS
"""Plant ns between two tries of what the device refuses for good."""

JOIN_AGAIN = 300 * NS
"""Plant ns between two tries to read over one of the places that no request may go over."""

Cuts = frozenset[tuple[Area, int]]
"""Places (area, address) that no request may go over."""

Search = Generator[Block, bool, Cuts]
"""Yields what is to be asked next and is sent whether the device answered; returns the places that no request may go over."""


def search(block: Block) -> Search:
    """Look for the values at fault in ``block``, which the device has refused; asks at most two smaller blocks for each halving."""
    halves = _halves(block)
    cuts: Cuts = frozenset()
    answered = 0
    for half in halves:
        if (yield half):
            answered += 1
        else:
            cuts |= yield from search(half)
    if answered == 2 and halves[1].address > block.address:
        cuts |= {(block.area, halves[1].address)}
    return cuts


def units(block: Block) -> list[Block]:
    """Return the smallest requests that a block can be parted into: a value, the bits of one register, values that must be read together."""
    members: dict[object, list[Field]] = {}
    for field in block.fields:
        members.setdefault(field.together or (field.address, field.size), []).append(field)
    parts = (_around(block, fields) for fields in members.values())
    return sorted(parts, key=lambda unit: (unit.address, unit.count))


def _around(block: Block, fields: list[Field]) -> Block:
    start = min(field.address for field in fields)
    count = max(field.end for field in fields) - start
    return replace(block, address=start, count=count, fields=tuple(sorted(fields, key=lambda field: field.index)))


def _halves(block: Block) -> list[Block]:
    parts = units(block)
    middle = len(parts) // 2
    if not middle:
        return []
    return [_around(block, [field for unit in half for field in unit.fields]) for half in (parts[:middle], parts[middle:])]


class Refused(NamedTuple):
    """A value that the device refuses, and in which words."""

    block: Block
    detail: str


class Split:
    """How one planned block is read from its device. While nothing was refused, ``parts`` is that block alone.

    ``bad`` holds the values that the device refuses.
    """

    def __init__(self, block: Block, limits: Limits, fields: Sequence[Field] = ()) -> None:
        """Read ``block`` whole until it is refused; ``limits`` and all ``fields`` of the device are those that it was planned by."""
        self.block = block
        self.parts: list[Block] = [block]
        self.bad: list[Refused] = []
        self._limits = limits
        self._fields = fields
        self._news = False
        self._cuts: Cuts = frozenset()
        self._searches: deque[tuple[Block, Search]] = deque()
        self._retry_at = 0
        self._join_at = 0
        self._turn = 0
        self._trial: tuple[Block, Cuts] | None = None

    @property
    def whole(self) -> bool:
        """Whether the block is read by one request, as planned."""
        return len(self.parts) == 1 and self.parts[0] is self.block

    @property
    def searching(self) -> tuple[Field, ...]:
        """The values of blocks in which the one at fault is not found yet and that nothing reads meanwhile."""
        known = {field.index for block in (*self.parts, *(refused.block for refused in self.bad)) for field in block.fields}
        return tuple(field for field in self.block.fields if field.index not in known) if self._searches else ()

    def look_again(self) -> None:
        """Ask for bad values with the next poll again: the device may have been mended while it was away."""
        self._retry_at = 0

    def looks_for(self, block: Block) -> bool:
        """Whether ``block`` is what the search is asking."""
        return bool(self._searches) and self._searches[0][0] is block

    def questions(self, now: int) -> Iterator[Block]:
        """Yield what to ask in a poll at plant time ``now``; tell `answered` or `refused` before taking the next."""
        yield from tuple(self.parts)
        if now >= self._retry_at and self.bad:
            self._retry_at = now + ASK_AGAIN
            yield from [refused.block for refused in self.bad[:RETRIES]]
        if not self._cuts:
            self._join_at = now + JOIN_AGAIN
        elif now >= self._join_at and not self._searches:
            self._join_at = now + JOIN_AGAIN
            yield from self._over()
        for _ in range(PROBES if self._searches else 0):
            if not self._searches:
                return
            yield self._searches[0][0]

    def _over(self) -> Iterator[Block]:
        """Yield the request that would be made but for one of the cuts, each in its turn."""
        cuts = sorted(self._cuts)
        cut = cuts[self._turn % len(cuts)]
        self._turn += 1
        left = self._cuts - {cut}
        for block in self._planned(left):
            if block.area == cut[0] and block.address < cut[1] < block.address + block.count:
                self._trial = block, left
                yield block
                return

    def tries(self, block: Block) -> bool:
        """Whether ``block`` is only asked to see whether it is still refused: its values are read by others."""
        return self._trial is not None and self._trial[0] is block

    def answered(self, block: Block) -> bool:
        """Take in that the device answered; returns whether the values of ``block`` were bad and are found again."""
        if not self._searches and not self.bad and not self._cuts:  # nearly every answer
            return False
        if self._trial is not None and self.tries(block):
            self._cuts, self._trial, self._join_at = self._trial[1], None, 0  # the next in the next poll
            self._join()
            return False
        if self.looks_for(block):
            self.parts.append(block)
            self._go_on(answered=True)
            return False
        if not any(refused.block is block for refused in self.bad):
            return False
        self.bad = [refused for refused in self.bad if refused.block is not block]
        self._cuts, self._retry_at = frozenset(), 0  # the device is not the one that it was
        self.parts.append(block)
        self._join()
        return True

    def refused(self, block: Block, detail: str, now: int) -> bool:
        """Take in that the device refused ``block`` because of its size or addresses; returns whether its values alone are found to be at fault."""
        if self.tries(block):
            self._trial = None
            return False
        if (again := next((refused for refused in self.bad if refused.block is block), None)) is not None:
            self.bad.remove(again)
            self.bad.append(again)  # the next time others have their turn
            return False
        alone = len(units(block)) == 1
        if alone:
            if not self.bad:
                self._retry_at = now + ASK_AGAIN
            self.bad.append(Refused(block, detail))
            self._news = True
        if self.looks_for(block):
            self._go_on(answered=False)
            return alone
        self.parts = [part for part in self.parts if part is not block]
        looking = search(block)
        first = next(looking, None)
        if first is not None:
            self._searches.append((first, looking))
        elif not self._searches:
            self._join()
        return alone

    def _go_on(self, *, answered: bool) -> None:
        _, looking = self._searches.popleft()
        try:
            self._searches.appendleft((looking.send(answered), looking))
        except StopIteration as end:
            self._cuts |= end.value
            self._news |= bool(end.value)
            if not self._searches and self._news:
                self._join()

    def _join(self) -> None:
        """Plan the good values anew, around all that was found."""
        self._news = False
        parts = self._planned(self._cuts)
        self.parts = [self.block] if len(parts) == 1 and parts[0] == self.block else parts

    def _planned(self, cuts: Cuts) -> list[Block]:
        """Return the requests for the good values that go over none of ``cuts``."""
        good = [unit for part in self.parts for unit in units(part)]
        bad = [Span(block.area, block.address, block.address + block.count) for block, _ in self.bad]
        around = tuple(
            span for span in bad if not any(span.meets(unit.area, unit.address, unit.address + unit.count) for unit in good)
        )
        limits = self._limits._replace(excluded=self._limits.excluded + around, cuts=cuts)
        return list(plan((field for unit in good for field in unit.fields), limits, self._fields))
