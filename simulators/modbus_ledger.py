"""What a Modbus device truly did: each request, each value it sent for which register in answer to it, every function code seen."""

from __future__ import annotations

import bisect
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TextIO

_READS = frozenset({1, 2, 3, 4})
_WRITES = frozenset({5, 6, 15, 16, 21, 22, 23})


@dataclass
class Entry:
    """One request and what was sent for it. ``right``: an answer that may be believed; ``fault``: what was done instead, or with it.

    ``link`` is the number of the connection (0: the serial line). ``at`` and ``sent`` are ns of the clock that the device was given; ``values`` the words or bits from ``address`` on.
    """

    at: int
    unit: int
    function: int
    address: int
    count: int
    link: int = 0
    fault: str = ""
    right: bool = False
    sent: int = 0
    values: tuple[int, ...] = ()

    def holds(self, unit: int, function: int, address: int, words: tuple[int, ...]) -> bool:
        """Whether it was answered rightly with just these values for these addresses."""
        start = address - self.address
        return (
            self.right
            and (unit, function) == (self.unit, self.function)
            and start >= 0
            and self.values[start : start + len(words)] == words
        )

    def asks(self, unit: int, function: int, address: int) -> bool:
        """Whether it asked for this register."""
        return (unit, function) == (self.unit, self.function) and self.address <= address < self.address + self.count


@dataclass
class Ledger:
    """Everything since the start of the device, in the order of arrival."""

    entries: list[Entry] = field(default_factory=list)
    functions: Counter[int] = field(default_factory=Counter)
    connections: int = 0
    noise: int = 0
    out: TextIO | None = None

    @property
    def requests(self) -> int:
        """How many requests were seen, whatever they asked."""
        return sum(self.functions.values())

    @property
    def writes(self) -> int:
        """How many of them would have written something."""
        return sum(self.functions[code] for code in _WRITES)

    @property
    def misdeeds(self) -> int:
        """How many requests were not simply answered."""
        return sum(bool(entry.fault) for entry in self.entries)

    def asked(self, entry: Entry) -> Entry:
        """Note a request; its entry is filled when it is answered."""
        self.functions[entry.function] += 1
        if entry.function in _READS:
            self.entries.append(entry)
        return entry

    def settled(self, entry: Entry) -> None:
        """Write a finished entry to the file, where there is one."""
        if self.out is not None:
            self.out.write(json.dumps(asdict(entry)) + "\n")
            self.out.flush()

    def between(self, first: int, last: int) -> list[Entry]:
        """Return the entries of requests that arrived from ``first`` to ``last`` (ns)."""
        times = [entry.at for entry in self.entries]
        return self.entries[bisect.bisect_left(times, first) : bisect.bisect_right(times, last)]
