"""What the outbox answers about its records without changing them."""

from __future__ import annotations

from edge_agent.buffer import archive
from edge_agent.buffer.commit import Committer
from edge_agent.model.stream import Kind
from edge_agent.ports import DeadLetter, Page, StreamLevel


class Asked:
    """The questions; whoever inherits them brings the store."""

    committer: Committer
    _prefix: str

    def waiting(self, kind: Kind, after: int, limit: int) -> Page:
        """Return undelivered records without handing them out. Raises StorageError."""
        return archive.waiting(self.committer.store, self.committer.delivery, kind, after, limit, self._prefix)

    def levels(self) -> list[StreamLevel]:
        """Return how far the streams of every epoch are. Raises StorageError."""
        return archive.levels(self.committer.store, self.committer.delivery, self.committer.confirmed)

    def kept(self, stream: str, epoch: str, first: int, last: int, limit: int) -> Page:
        """Return records of a stream that are still there. Raises StorageError."""
        return archive.kept(self.committer.store, stream, epoch, first, last, limit, self._prefix)

    def dead_letters(self, after: int, limit: int) -> list[DeadLetter]:
        """Return dead letters. Raises StorageError."""
        return archive.letters(self.committer.store, after, limit)

    def heads(self) -> dict[str, tuple[int, int, int]]:
        """Return per stream of this epoch (first kept, head, delivered without a hole). Raises StorageError."""
        levels = self.committer.store.levels(self.committer.epoch)
        return {
            name: (first, head, self.committer.delivery.level(identity, stored)) for identity, name, first, head, stored in levels
        }
