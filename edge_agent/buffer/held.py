"""The store as an agent holds it: opens it, looks whether it is still the one at the path, brings it back, gives it up, closes it.

A handle on which something failed is given up and not used again (an fsync is never repeated on it: the kernel may have forgotten
what it could not write); the file is opened anew, and its log moved into the database and synced.
"""

from __future__ import annotations

from collections.abc import Callable

import apsw
import structlog

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.confirm import Confirmed
from edge_agent.buffer.delivery import Delivery
from edge_agent.buffer.evict import Room
from edge_agent.buffer.identity import Damage
from edge_agent.buffer.lineage import Lineage, begin, machine_of
from edge_agent.buffer.numbering import Numbers
from edge_agent.buffer.opening import DAMAGED, DamagedError, Opened, open_store, replace_store
from edge_agent.buffer.store import Store
from edge_agent.model.errors import ConfigError, StorageError
from edge_agent.model.histogram import Histogram


class HeldStore:
    """An open store, its numbers and what is known of it, or the reason why it is not open. Times are seconds of machine time."""

    def __init__(
        self,
        config: BufferConfig,
        now: float,
        *,
        prefix: str,
        vfs: str | None,
        as_found: bool = False,
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the store (``as_found``: only one that is there and whole). Raises ConfigError, StorageError.

        ``enter`` takes the right to use the directory. When the disk is in the way of either, ``problem`` says how, and every `write` tries again.
        """
        self._config, self._prefix, self._vfs, self._as_found, self._enter = config, prefix, vfs, as_found, enter
        self._log = structlog.get_logger()
        self.room = Room(config.path, config)
        self.delivery = Delivery()
        self.confirmed = Confirmed() if config.confirm else None
        self.damage: Damage | None = None
        self.commits = 0
        self.syncs = Histogram()
        self.dropped, self.dropped_at = 0, 0.0
        self.last_commit = float("-inf")
        self._store: Store | None = None
        self._numbers = Numbers("", {}, 1, 1)
        self._age, self._aged_at = 0, now
        self.lineage = Lineage()
        self._machine = machine_of(config.machine_id)
        self.fresh, self.news = False, False
        self.previous_epoch: str | None = None
        self.counts = {"E": 0, "T": 0, "delivered": 0}
        self.problem: Exception | None = None
        try:
            self._open()
        except (apsw.Error, OSError) as error:
            self.problem = error

    @property
    def epoch(self) -> str:
        """The epoch in which new records are numbered; empty as long as the store could not be opened."""
        return self._numbers.epoch

    @property
    def readable(self) -> bool:
        """Whether there is an open store."""
        return self._store is not None

    @property
    def store(self) -> Store:
        """The open store. Raises StorageError when there is none."""
        if self._store is None:
            raise StorageError("the store is closed, and the disk does not let it be opened")
        return self._store

    # -- opening and closing ---------------------------------------------------------------------------------------

    def _open(self) -> Opened:
        self._enter()
        path, pages = self._config.path, self.room.wal_pages
        known = self.damage if self.damage is not None and self.damage.epoch == self.epoch else None  # deleted while it was open
        opened = open_store(path, pages, self._vfs, self._prefix, as_found=self._as_found, known=known)
        try:
            self._read(opened)
        except BaseException as error:
            self._give_up_handle()
            if not isinstance(error, DAMAGED) or self._as_found or self._vfs is not None or _just_found(opened.damage):
                raise
            opened = self._replace(DamagedError(error, cut=opened.store.log_doubtful))
        return opened

    def _replace(self, error: DamagedError) -> Opened:
        """Go on with what can be saved of the store, which is closed. Raises StorageError, apsw.Error, OSError."""
        opened = replace_store(self._config.path, self.room.wal_pages, self._prefix, error)
        try:
            self._read(opened)
        except BaseException:
            self._give_up_handle()  # half taken over it is not to be written
            raise
        return opened

    def distrust(self, error: Exception) -> None:
        """Put the open store aside, for a page of it is damaged, and go on with what can be saved. Raises StorageError, apsw.Error, OSError."""
        cut = self.store.log_doubtful
        self._give_up_handle()
        if self._vfs is not None or self._as_found:
            raise error
        self._replace(DamagedError(error, cut=cut))

    def _read(self, opened: Opened) -> None:
        """Take over a store that was opened: its numbers, how far the streams are delivered, what waits."""
        store = self._store = opened.store
        if opened.damage is not None and (self.damage is None or self.damage.epoch != opened.damage.epoch):
            self.damage = opened.damage  # else it is told already: deleted while it was open
        numbers = store.numbers(opened.epoch)
        if numbers.epoch == self._numbers.epoch:  # rows are called by rising names as long as the process lives
            numbers.next_record = max(numbers.next_record, self._numbers.next_record)
        else:  # the first one, or the store of before is gone: what was known of its rows does not hold here
            self.fresh, self.previous_epoch = opened.fresh, opened.previous
            self.delivery = Delivery()
            if self.confirmed is not None:
                self.confirmed.forget()
        self._numbers = numbers
        self._age = max(self._age, opened.age)
        self.delivery.load(store)
        if self.confirmed is not None:
            self.confirmed.load(store)
        self.counts = store.counts()
        self.news = self.news or self.counts["E"] + self.counts["T"] > 0
        self._limit(store)
        if not self._as_found and self.lineage.epoch != opened.epoch:  # a visitor gives no numbers, and leaves no trace
            self.lineage = begin(store, opened.epoch, self._machine)

    def close(self, now: float) -> None:
        """Note that the store was closed in order, and close it."""
        if self._store is None:
            return
        store, self._store = self._store, None
        try:
            with store.transaction():
                store.put_number("age", self._age_at(now))
                store.put("clean", "1")
                if self.confirmed is not None:
                    self.confirmed.write(store)
        except apsw.Error as error:  # everything accepted is in the log; the next start takes it from there
            self._log.error("buffer.close_failed", error=str(error))
            store.close(failed=True)
        else:
            store.close()

    def _give_up_handle(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            try:
                store.close(failed=True)
            except apsw.Error as error:  # the handle is gone either way; the commit that failed is reported by the caller
                self._log.warning("buffer.close_failed", error=str(error))

    # -- what stands at the path -----------------------------------------------------------------------------------

    def displaced(self) -> bool:
        """Look at the directory: refresh the limits and the reserve; True when it is not ours as it was, and the handle given up.

        Then our file was deleted or replaced, or the lock was, and another agent has taken it.
        """
        if self._store is None:
            return False
        if not self._entitled(self._store):
            self._give_up_handle()
            return True
        if self._store.displaced():
            self._rescue(self._store)
            self._give_up_handle()
            return True
        self.room.keep_reserve()
        self._limit(self._store)
        return False

    def _entitled(self, store: Store) -> bool:
        """Take the right to the directory again where its file was deleted; False when another process was faster: what stands there is its own."""
        try:
            self._enter()
        except (ConfigError, StorageError) as error:
            self._log.error("buffer.taken", error=str(error))
            if store.displaced():
                self.damage = Damage("", self.epoch, "the file was deleted while it was open, and another agent made its own")
            return False
        except OSError as error:  # nobody else could make the file either; what the disk says is told with the next commit
            self._log.warning("buffer.not_locked", error=f"{type(error).__name__}: {error}")
        return True

    def _rescue(self, store: Store) -> None:
        """Bring a deleted store back from its open handle; where another file stands in its place that one is taken as it is."""
        if store.path.exists():
            return
        try:
            store.rescue()
        except (apsw.Error, OSError) as error:
            self._log.error("buffer.not_rescued", error=f"{type(error).__name__}: {error}")
            self.damage = Damage("", self.epoch, "the file was deleted while it was open")
        else:
            self._log.warning("buffer.rescued", path=str(store.path))

    def _limit(self, store: Store) -> None:
        self._pages = self.room.limit(store.pages()[0])
        store.limit(self._pages)

    def _age_at(self, now: float) -> int:
        """Return the running time of the store in ns: a clock that nobody can set, so no jump of the wall clock can purge anything."""
        self._age += int(max(0.0, now - self._aged_at) * 1e9)
        self._aged_at = now
        return self._age


def _just_found(damage: Damage | None) -> bool:
    """Whether the store was made in this opening: what is wrong with it is wrong with the disk."""
    return damage is not None and not damage.earlier
