"""The planner: fields to the block reads that cost the device and the bus least (pure).

Theory. All fields that must be seen together (`Field.together`, and nothing else) form an atom; an atom is never split, so a
value of several registers never spans two requests. An atom that lies inside another one is answered with it; of the
rest, ordered by their first address, the last addresses are ordered too, so the atoms of a block are always neighbours and a plan is a way to
cut that row. Two neighbours may share a block when no excluded address and no more than ``gap`` registers in a row that no tag of the
device names lie between them. Among all ways to cut, `_cuts` finds the cheapest in one pass: a request costs ``request``, an address what it
takes on the wire. By default a request costs more than any number of addresses (a TCP round trip does), so the plan has the fewest requests
possible and, of those, the one that reads least; on a slow serial line a long gap costs more than another request and is not read.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Never

import msgspec
from msgspec.structs import force_setattr, replace

from edge_agent.drivers.modbus.excluded import Span, inside
from edge_agent.drivers.modbus.field import Area, Field, is_bits

FEWEST = 1 << 30
"""Cost of a request, in bits of answer, that no number of addresses makes up for: the plan has the fewest requests."""


class Limits(NamedTuple):
    """What one request may ask of a device, which addresses it must not, and what a request costs.

    ``gap`` registers that no tag names may be read over; ``excluded`` addresses never. No block has an address from before one of ``cuts`` (area,
    address) and one from behind it. ``request`` is the cost of a request in bits of answer (a register costs 16, a coil 1).
    """

    registers: int = 125
    bits: int = 2000
    gap: int = 0
    excluded: tuple[Span, ...] = ()
    cuts: frozenset[tuple[Area, int]] = frozenset()
    request: int = FEWEST

    def of(self, area: Area) -> int:
        """Return the most addresses of ``area`` in one request."""
        return self.bits if is_bits(area) else self.registers

    def gap_of(self, area: Area) -> int:
        """Return how many unnamed addresses of ``area`` may be read over; bits cost a sixteenth of a register."""
        return self.gap * 16 if is_bits(area) else self.gap


class Block(msgspec.Struct, frozen=True):
    """One read request: ``count`` addresses from ``address``; ``fields`` are answered by it.

    ``reads`` is how often each poll asks for it at least: a value that must come twice in a row makes it two. It follows from ``fields``.
    """

    area: Area
    address: int
    count: int
    period: int
    fields: tuple[Field, ...]
    reads: int = 0

    def __post_init__(self) -> None:
        """Derive ``reads`` once; every poll asks for it."""
        force_setattr(self, "reads", 2 if any(field.twice for field in self.fields) else 1)

    @property
    def name(self) -> str:
        """The request as people write it (``holding 0-11``); unique inside a device and period."""
        return f"{self.area} {self.address}-{self.address + self.count - 1}"

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class _Atom(NamedTuple):
    start: int
    end: int
    fields: tuple[Field, ...]


def plan(fields: Iterable[Field], limits: Limits, others: Iterable[Field] = ()) -> tuple[Block, ...]:
    """Return the blocks that read all ``fields``, by area, period and address; ``others`` of the device name addresses, too.

    Raises ValueError, in words for the user, when fields that must be read together differ in area or period, do not fit, or are excluded.
    """
    fields = tuple(fields)
    atoms = _atoms(fields, limits)
    known = (*fields, *others)
    named = {area: _runs(field for field in known if field.area == area) for area, _ in atoms}
    blocks: list[Block] = []
    for (area, period), members in sorted(atoms.items(), key=lambda item: item[0]):
        for row in _rows(_outermost(members), area, limits, named[area]):
            blocks += _blocks(row, area, period, limits)
    return tuple(blocks)


def one_block(fields: Sequence[Field], limits: Limits) -> Block:
    """Return the one request that reads all ``fields``, in the order given, whatever unnamed lies between; raises ValueError when there is none."""
    first = fields[0]
    scales = [field.factor.field for field in fields if field.factor is not None]
    block = plan((replace(field, together=first.name, period=first.period) for field in (*fields, *scales)), limits)[0]
    return replace(block, fields=tuple(fields))


def _atoms(fields: Iterable[Field], limits: Limits) -> dict[tuple[Area, int], list[_Atom]]:
    groups: dict[str, list[Field]] = defaultdict(list)
    for field in fields:
        groups[f"={field.together}" if field.together is not None else field.name].append(field)
    atoms: dict[tuple[Area, int], list[_Atom]] = defaultdict(list)
    for members in groups.values():
        first = members[0]
        for other in members:
            _can_share(first, other)
        start, end = min(field.address for field in members), max(field.end for field in members)
        if end - start > limits.of(first.area):
            what = "bits" if is_bits(first.area) else "registers"
            names = ", ".join(field.name for field in members)
            raise ValueError(f"{names}: one request would need {end - start} {what}, the device allows {limits.of(first.area)}")
        if (span := inside(limits.excluded, first.area, start, end)) is not None:
            _refuse_excluded(members, span)
        atoms[first.area, first.period].append(_Atom(start, end, tuple(members)))
    return atoms


def _refuse_excluded(members: Sequence[Field], span: Span) -> Never:
    for field in members:
        if span.meets(field.area, field.address, field.end):
            raise ValueError(
                f"{field.name}: it lies in {span.name}, which exclude says must not be read; remove the tag, or correct exclude"
            )
    names = ", ".join(field.name for field in members)
    raise ValueError(
        f"{names}: one request would read {span.name} between them, which exclude says must not be read; do not ask for them together"
    )


def _can_share(first: Field, other: Field) -> None:
    if first.area != other.area:
        raise ValueError(
            f"{first.name} ({first.area}) and {other.name} ({other.area}) cannot be read in one request; only tags of one register area can"
        )
    if first.period != other.period:
        raise ValueError(
            f"{first.name} and {other.name} are to be read in one request but have different poll periods; give both the same"
        )


def _outermost(atoms: Iterable[_Atom]) -> list[_Atom]:
    """Return the atoms that lie in no other one, with the fields of those that lie in them; ordered, and so are their ends."""
    outer: list[_Atom] = []
    for atom in sorted(atoms, key=lambda atom: (atom.start, -atom.end)):
        if outer and atom.end <= outer[-1].end:
            outer[-1] = outer[-1]._replace(fields=outer[-1].fields + atom.fields)
        else:
            outer.append(atom)
    return outer


def _runs(fields: Iterable[Field]) -> list[tuple[int, int]]:
    """Return the stretches of addresses that some field names."""
    runs: list[tuple[int, int]] = []
    for start, end in sorted((field.address, field.end) for field in fields):
        if runs and start <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(runs[-1][1], end))
        else:
            runs.append((start, end))
    return runs


def _rows(atoms: list[_Atom], area: Area, limits: Limits, named: list[tuple[int, int]]) -> list[list[_Atom]]:
    """Part neighbours that may not share a block."""
    holes = [(before[1], behind[0]) for before, behind in pairwise(named)]
    allowed = limits.gap_of(area)
    barriers = [(start, end) for start, end in holes if end - start > allowed]
    barriers += [(span.start, span.end) for span in limits.excluded if span.area == area]
    barriers.sort()
    cuts = sorted(address for of, address in limits.cuts if of == area)
    rows: list[list[_Atom]] = [atoms[:1]]
    for before, atom in pairwise(atoms):
        while barriers and barriers[0][1] <= before.end:
            barriers.pop(0)
        while cuts and cuts[0] <= before.start:
            cuts.pop(0)
        if (barriers and barriers[0][0] < atom.start) or (cuts and cuts[0] <= atom.start):
            rows.append([atom])
        else:
            rows[-1].append(atom)
    return rows


def _cuts(row: list[_Atom], limit: int, address: int, request: int) -> list[int]:
    """Return where the cheapest blocks of a row begin (indexes); of equally cheap ways the one whose first blocks are longest.

    From the right: ``cost[i]`` of the atoms from ``i`` on is ``request - address * start_i`` plus the least ``address * end_j + cost[j + 1]`` of the blocks
    ``i`` to ``j`` within the limit, which a queue of the ends still worth looking at has at hand.
    """
    cost, last = [0] * (len(row) + 1), [0] * len(row)
    ends: deque[tuple[int, int]] = deque()  # (what the rest costs with a block that ends at j, j): left dearest and nearest
    for i in range(len(row) - 1, -1, -1):
        rest = address * row[i].end + cost[i + 1]
        while ends and ends[0][0] > rest:
            ends.popleft()
        ends.appendleft((rest, i))
        while row[ends[-1][1]].end - row[i].start > limit:
            ends.pop()
        cheapest, last[i] = ends[-1]
        cost[i] = request - address * row[i].start + cheapest
    cuts, i = [], 0
    while i < len(row):
        cuts.append(i)
        i = last[i] + 1
    return cuts


def _blocks(row: list[_Atom], area: Area, period: int, limits: Limits) -> list[Block]:
    cuts = _cuts(row, limits.of(area), 1 if is_bits(area) else 16, limits.request)
    return [_block(row[first:behind], area, period) for first, behind in pairwise([*cuts, len(row)])]


def _block(atoms: Sequence[_Atom], area: Area, period: int) -> Block:
    fields = sorted((field for atom in atoms for field in atom.fields), key=lambda field: field.index)
    return Block(area, atoms[0].start, atoms[-1].end - atoms[0].start, period, tuple(fields))
