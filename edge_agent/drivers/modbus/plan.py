"""The planner: fields to the fewest block reads that the device allows (pure).

Theory. All fields that must be seen together (`Field.together`, and nothing else) form an atom; an atom is never split, so a
value of several registers never spans two requests. Registers that some tag names are known to exist; stretches of other registers up to
``max_gap`` may be read over, longer ones divide the area into islands. Inside an island every address may be read, and a
block that starts at the leftmost atom not yet covered and reaches as far as the limit covers all that any other block through that atom
could, so taking blocks from the left is not only simple but also the fewest possible (per area and period).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from edge_agent.drivers.modbus.field import Area, Field, is_bits


class Limits(NamedTuple):
    """What one request may ask of a device, and how many registers that no tag names may be read over."""

    registers: int = 125
    bits: int = 2000
    gap: int = 0

    def of(self, area: Area) -> int:
        """Return the most addresses of ``area`` in one request."""
        return self.bits if is_bits(area) else self.registers

    def gap_of(self, area: Area) -> int:
        """Return how many unnamed addresses of ``area`` may be read over; bits cost a sixteenth of a register."""
        return self.gap * 16 if is_bits(area) else self.gap


class Block(msgspec.Struct, frozen=True):
    """One read request: ``count`` addresses from ``address``; ``fields`` are answered by it."""

    area: Area
    address: int
    count: int
    period: int
    fields: tuple[Field, ...]

    @property
    def name(self) -> str:
        """The request as people write it (``holding 0-11``); unique inside a device and period."""
        return f"{self.area} {self.address}-{self.address + self.count - 1}"


class _Atom(NamedTuple):
    start: int
    end: int
    fields: tuple[Field, ...]


def plan(fields: Iterable[Field], limits: Limits) -> tuple[Block, ...]:
    """Return the blocks that read all ``fields``, by area, period and address.

    Raises ValueError, in words for the user, when fields that must be read together differ in area or period or do not fit.
    """
    atoms = _atoms(fields, limits)
    blocks: list[Block] = []
    for (area, period), members in sorted(atoms.items(), key=lambda item: item[0]):
        for island in _islands(members, limits.gap_of(area)):
            blocks += _cover(island, area, period, limits.of(area))
    return tuple(blocks)


def one_block(fields: Sequence[Field], limits: Limits) -> Block:
    """Return the one request that reads all ``fields``, in the order given, whatever lies between; raises ValueError when there is none."""
    first = fields[0]
    block = plan((replace(field, together=first.name, period=first.period) for field in fields), limits)[0]
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
        atoms[first.area, first.period].append(_Atom(start, end, tuple(members)))
    return atoms


def _can_share(first: Field, other: Field) -> None:
    if first.area != other.area:
        raise ValueError(
            f"{first.name} ({first.area}) and {other.name} ({other.area}) cannot be read in one request; only tags of one register area can"
        )
    if first.period != other.period:
        raise ValueError(
            f"{first.name} and {other.name} are to be read in one request but have different poll periods; give both the same"
        )


def _islands(atoms: list[_Atom], gap: int) -> list[list[_Atom]]:
    islands: list[list[_Atom]] = []
    reach = 0  # the first address behind everything in the last island
    for atom in sorted(atoms, key=lambda atom: (atom.start, atom.end)):
        if islands and atom.start - reach <= gap:
            islands[-1].append(atom)
        else:
            islands.append([atom])
        reach = max(reach, atom.end)
    return islands


def _cover(atoms: list[_Atom], area: Area, period: int, limit: int) -> list[Block]:
    blocks: list[Block] = []
    while atoms:  # ordered by start
        start = atoms[0].start
        inside = [atom for atom in atoms if atom.end <= start + limit]
        atoms = [atom for atom in atoms if atom.end > start + limit]
        fields = sorted((field for atom in inside for field in atom.fields), key=lambda field: field.index)
        blocks.append(Block(area, start, max(atom.end for atom in inside) - start, period, tuple(fields)))
    return blocks
