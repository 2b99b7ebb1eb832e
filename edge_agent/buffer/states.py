"""Rule states of an open store, in SQL; written in the transaction of the events that they led to."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from edge_agent.buffer.database import Database
from edge_agent.model.stream import Checkpoint


class States(Database):
    """Tables ``owner`` and ``state``."""

    def put_states(self, found: Iterable[Checkpoint]) -> None:
        """Write rule states and last-seen times; inside a transaction."""
        for checkpoint in found:
            self.db.execute(
                "INSERT INTO owner VALUES (?, ?) ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen",
                (checkpoint.owner, checkpoint.last_seen),
            )
            if checkpoint.states:
                self.db.executemany(
                    "INSERT INTO state VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET crc = excluded.crc, value = excluded.value",
                    [
                        (checkpoint.owner, rule, _state_crc(checkpoint.owner, rule, value), value)
                        for rule, value in checkpoint.states.items()
                    ],
                )

    def states(self, owner: str) -> tuple[dict[str, bytes], int | None, list[str]]:
        """Return the states of an owner, its last-seen time, and the names of states whose checksum is wrong."""
        states, bad = {}, []
        query = (
            # whatever a flipped bit made of them
            "SELECT coalesce(CAST(rule AS BLOB), X''), crc, coalesce(CAST(value AS BLOB), X'') FROM state WHERE owner = ?"
        )
        for name, crc, value in self.db.execute(query, (owner,)):
            rule = name.decode(errors="backslashreplace")
            if _state_crc(owner, rule, value) == crc:
                states[rule] = value
            else:
                bad.append(rule)
        last_seen = self.db.execute("SELECT last_seen FROM owner WHERE name = ?", (owner,)).get
        return states, last_seen if type(last_seen) is int else None, bad


def _state_crc(owner: str, rule: str, value: bytes) -> int:
    return crc32(value, crc32(f"{owner}/{rule}".encode()))
