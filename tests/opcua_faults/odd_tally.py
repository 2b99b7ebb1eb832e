"""What the fault bench saw, over all tests of one run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Faults healed: how many good items there were, how many came back, the slowest return in machine seconds; requests and writes."""

    faults: int = 0
    items: int = 0
    back: int = 0
    slowest: float = 0.0
    requests: int = 0
    writes: int = 0
    named: list[str] = field(default_factory=list)

    def healed(self, items: int, back: int, seconds: float) -> None:
        """Note the end of one fault."""
        self.faults += 1
        self.items += items
        self.back += back
        self.slowest = max(self.slowest, seconds)

    def line(self) -> str:
        """The one line that says everything."""
        return (
            f"opcua-faults: {self.faults} faults, {self.back} items back of {self.items}, slowest {self.slowest:.1f} s, "
            f"{self.writes} writes on the wire ({self.requests} requests)"
        )


TALLY = Tally()
