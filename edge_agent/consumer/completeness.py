"""What an MES can rely on: everything up to T is here, or these numbers are missing."""

from __future__ import annotations

import msgspec

from edge_agent.consumer.database import Database
from edge_agent.consumer.row import when


class Missing(msgspec.Struct, frozen=True):
    """Numbers that are not here; ``how``: waiting (asked for), declared, not_kept or epoch_ended."""

    epoch: str
    first: int
    last: int
    how: str


class Proof(msgspec.Struct, frozen=True):
    """How complete a stream is. ``complete``: nothing is waited for, and the time asked about is reached; lost ranges stay listed."""

    source: str
    epoch: str
    high: int
    complete_to: str | None
    complete: bool
    missing: tuple[Missing, ...]
    alarms: int

    def words(self) -> str:
        """Return it as a sentence."""
        waiting = [one for one in self.missing if one.how == "waiting"]
        lost = sum(one.last - one.first + 1 for one in self.missing if one.how != "waiting")
        said = f"everything up to {self.complete_to} is here" if self.complete_to else "no checkpoint has been reached yet"
        if waiting:
            said += "; waiting for " + ", ".join(f"{one.first}-{one.last}" for one in waiting)
        if lost:
            said += f"; {lost} numbers are declared lost"
        return f"{self.source}: {said}"


def proofs(database: Database, until: int | None = None, source: str | None = None) -> list[Proof]:
    """Return the proof of each stream; ``until`` (UTC microseconds) is the time that has to be reached."""
    missing: dict[str, list[Missing]] = {}
    rows = database.read("SELECT source, epoch, first_seq, last_seq, how FROM missing_ranges ORDER BY source, epoch, first_seq")
    for name, *rest in rows:
        missing.setdefault(name, []).append(Missing(*rest))
    alarms = dict(database.read("SELECT source, COUNT(*) FROM consumer_alarms GROUP BY source"))
    streams = database.read("SELECT source, epoch, high, complete_to_us FROM complete_to ORDER BY source")
    unseen = [(name, holes[0].epoch, 0, None) for name, holes in missing.items() if name not in {row[0] for row in streams}]
    found = []
    for name, epoch, high, reached in [*streams, *unseen]:
        if source is not None and name != source:
            continue
        holes = tuple(missing.get(name, ()))
        done = reached is not None and (until is None or reached >= until) and all(one.how != "waiting" for one in holes)
        found.append(Proof(name, epoch, high, when(reached), done, holes, alarms.get(name, 0)))
    return found
