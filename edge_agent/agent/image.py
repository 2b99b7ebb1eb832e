"""What a device showed last: from this a unit begins that is added to a connection which stays open, as from the first rows behind a connect."""

from __future__ import annotations

from edge_agent.model.reading import Batch, DeviceUp, Value

_Row = tuple[Value | None, int, int, int]


class Image:
    """The newest row of every tag of one device: value, quality, source and server time."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._rows: dict[int, _Row] = {}

    def take(self, batch: Batch) -> None:
        """Remember the rows of ``batch``; what was sampled while nobody listened is history, and the present follows it."""
        if not batch.historical:
            self._rows.update(
                zip(batch.tags, zip(batch.values, batch.quality, batch.source, batch.server, strict=True), strict=True)
            )

    def shown(self, device: str, now: int) -> Batch:
        """Return everything as one read of a device that has just answered, at ``now`` (UTC ns)."""
        tags = sorted(self._rows)
        values, quality, source, server = zip(*map(self._rows.__getitem__, tags), strict=True) if tags else ((), (), (), ())
        return Batch(device, now, tags, list(values), list(quality), list(source), list(server), before=(DeviceUp(device, now),))
