"""Registers that say who they are: unit, table, address and a change number, so that a stale or foreign value is recognised.

A word is ``uu t aaaaa cccccccc``: two bits of the unit, one for the table (1 = input), five of the address, eight of the change. Every
request is a scan of its own, with the next change number. Bits cannot carry that much: they are drawn anew for each scan.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

COILS, DISCRETE, HOLDING, INPUT = 1, 2, 3, 4

Place = tuple[int, int, int]
"""Unit, function code that reads it, address."""


class Stamps:
    """All registers of all units. ``own`` holds those that are no stamps: called with the scan's number."""

    def __init__(self, generation: int = 0) -> None:
        """``generation``: another device in the place of the old one has other values."""
        self.generation = generation
        self.scan = 0
        self.own: dict[Place, Callable[[int], int]] = {}

    def next_scan(self) -> int:
        """Let everything change."""
        self.scan += 1
        return self.scan

    def read(self, unit: int, function: int, address: int, count: int, scan: int | None = None) -> tuple[int, ...]:
        """Return ``count`` words (or bits) as they are in ``scan``, default the present one."""
        number = self.scan if scan is None else scan
        return tuple(self._one((unit, function, at % 65_536), number) for at in range(address, address + count))

    def _one(self, place: Place, scan: int) -> int:
        if place in self.own:
            return self.own[place](scan) & 0xFFFF
        unit, function, address = place
        if function in {COILS, DISCRETE}:
            return zlib.crc32(repr((place, scan, self.generation)).encode()) & 1
        change = (scan + 101 * self.generation) % 256
        return (unit % 4) << 14 | (function == INPUT) << 13 | (address % 32) << 8 | change


class Counter:
    """A 16-bit counter of parts in a register, and how many there truly were. It wraps, is reset, jumps back."""

    def __init__(self, start: int) -> None:
        """Show ``start``; nothing was made yet."""
        self.made = 0
        self._shown = start

    def make(self, parts: int) -> None:
        """Count ``parts``; 65535 is followed by 0."""
        self.made += parts
        self._shown = (self._shown + parts) % 65_536

    def reset(self) -> None:
        """Begin again at 0."""
        self._shown = 0

    def jump(self, value: int) -> None:
        """Show another value without having made anything."""
        self._shown = value % 65_536

    def __call__(self, _scan: int) -> int:
        """Return what the register shows."""
        return self._shown
