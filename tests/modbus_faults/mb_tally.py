"""What the Modbus fault bench saw, over all tests of one run."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.modbus_ledger import Ledger


@dataclass
class Tally:
    """Trials; what the devices' ledgers hold; values compared with them; losses that had to be declared; the slowest recovery in seconds."""

    trials: int = 0
    faults: set[str] = field(default_factory=set)
    requests: int = 0
    misdeeds: int = 0
    writes: int = 0
    values: int = 0
    lost: int = 0
    invented: int = 0
    undeclared: int = 0
    slowest: float = 0.0

    def played(self, ledger: Ledger, values: int, lost: int, recovery: float) -> None:
        """Note the end of one trial."""
        self.trials += 1
        self.requests += ledger.requests
        self.misdeeds += ledger.misdeeds
        self.faults |= {entry.fault for entry in ledger.entries if entry.fault}
        self.writes += ledger.writes
        self.values += values
        self.lost += lost
        self.slowest = max(self.slowest, recovery)

    def line(self) -> str:
        """The one line that says everything."""
        return (
            f"modbus-faults: {len(self.faults)} faults, {self.trials} trials, {self.requests} requests seen, {self.misdeeds} done wrong, {self.writes} write functions seen, "
            f"{self.values} values checked, {self.invented} invented, {self.lost} polls lost, {self.undeclared} undeclared, "
            f"slowest recovery {self.slowest:.1f} s"
        )


TALLY = Tally()
