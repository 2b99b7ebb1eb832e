"""Bugs that a store must not have, put into the running program by a bench to show that the bench would see them. Product code knows none of them.

``plant(name)`` patches the process for good: benches do it in a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.buffer import schema
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.records import Stored
from edge_agent.buffer.store import Store
from edge_agent.model.stream import Custody


def _synchronous(level: str) -> Callable[[], None]:
    def patch() -> None:
        schema.SYNCHRONOUS = level

    return patch


def _ack_before_commit() -> None:
    """The answer is given when the append is taken; the commit follows with the next one."""
    late: dict[int, list[Group]] = {}

    def commit(self: Outbox, now: float) -> None:
        groups = self._pending.take(self.committer.room.batch_bytes)
        self.answers += [(group.token, Custody.DURABLE) for group in groups]
        before, late[id(self)] = late.get(id(self), []), groups
        self._write(before, now)

    def close(self: Outbox, now: float) -> None:
        while self._pending:
            commit(self, now)
        self._write(late.pop(id(self), []), now)
        in_order(self, now)

    in_order, Outbox._commit, Outbox.close = Outbox.close, commit, close


def _no_crc() -> None:
    """Every row that can be read is taken for sound."""
    stored = Store.stored

    def trusting(self: Store, resent: bool, columns: object) -> Stored:
        return stored(self, resent, columns)._replace(sound=True)

    Store.stored = trusting


def _seq_in_ram() -> None:
    """The last number of a stream is not stored with its events: a restart counts from where the stream began."""
    insert = Store.insert

    def forgetful(self: Store, batch: object) -> None:
        known = {name: head for name, head in batch.changed.items() if self.stream_id(name, batch.epoch) is None}
        changed, batch.changed = batch.changed, known
        insert(self, batch)
        batch.changed = changed

    Store.insert = forgetful


def _state_outside() -> None:
    """Events and the state they come from are two transactions."""
    insert = Store.insert

    def in_two_commits(self: Store, batch: object) -> None:
        groups, batch.groups = batch.groups, []
        insert(self, batch)
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")
        rows, batch.rows, batch.groups = batch.rows, [], groups
        insert(self, batch)
        batch.rows = rows

    Store.insert = in_two_commits


BUGS: dict[str, Callable[[], None]] = {
    "synchronous_off": _synchronous("OFF"),
    "synchronous_normal": _synchronous("NORMAL"),
    "ack_before_commit": _ack_before_commit,
    "no_crc": _no_crc,
    "seq_in_ram": _seq_in_ram,
    "state_outside": _state_outside,
}
"""Name -> what puts the bug into this process."""


def plant(name: str | None) -> None:
    """Put one bug into this process; none without a name."""
    if name is not None:
        BUGS[name]()
