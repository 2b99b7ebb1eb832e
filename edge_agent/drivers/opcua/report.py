"""From the rows of one device to batches with their notices: boot evidence, overflows, gaps, the server's own state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from edge_agent.drivers.opcua.convert import Converter, overflowed, quality_of
from edge_agent.drivers.opcua.inbox import Inbox, Receipt
from edge_agent.drivers.opcua.retyped import Retyped
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.model.reading import Boot, Gap, Mark, Notice, Quality, Snapshot, Tag, Value
from edge_agent.ports import PlantClock

_FUTURE: Final = 5_000_000_000
"""A source time more than this ahead of the agent is not believed. In the demo a machine's latency counts ``speed`` times."""

_UNUSABLE: Final = {1: "Failed", 2: "NoConfiguration", 6: "CommunicationFault"}
_DOUBTFUL: Final = {3: "Suspended", 4: "Shutdown", 5: "Test", 7: "Unknown"}


def state_floor(state: object) -> tuple[Quality, str] | None:
    """Return the best quality of any value while the server is in ``state`` (OPC 10000-5, 12.6); None when it runs."""
    if not isinstance(state, int):
        return None
    if state in _UNUSABLE:
        return Quality.BAD, f"server state {_UNUSABLE[state]}"
    return (Quality.UNCERTAIN, f"server state {_DOUBTFUL[state]}") if state in _DOUBTFUL else None


class Reporter:
    """Puts the rows of one device into the inbox. ``boot`` is the handle of the tag that changes with a restart."""

    def __init__(
        self, tags: Sequence[Tag], boot: int | None, clock: PlantClock, inbox: Inbox, status_text: Callable[[int], str]
    ) -> None:
        self._device = tags[0].device
        self._tags = tags
        self._boot = boot
        self._boot_id: Value | None = None
        self._clock = clock
        self._inbox = inbox
        self._converter = Converter(self._device, tags, status_text)
        self._retyped = Retyped(self._device, tags)
        self._slack = round(_FUTURE * max(1.0, clock.speed))
        self._last: dict[int, int] = {}
        self._floor: tuple[Quality, str] | None = None
        self._log = structlog.get_logger().bind(device=self._device)

    def put(
        self,
        rows: Columns,
        receipt: Receipt | None = None,
        *,
        before: Sequence[Notice] = (),
        after: Sequence[Notice] = (),
        group: str | None = None,
        details: dict[int, str] | None = None,
        mark: Mark | None = None,
        historical: bool = False,
    ) -> None:
        """Queue rows with the notices that they give rise to; ``details`` explains handles better than their status does.

        ``mark`` says how far the device's data are in with them; ``historical`` rows were sampled while nobody listened.
        """
        now = self._clock.now()
        notices = (*before, *self._boot_changes(rows, now), *self._overflows(rows, now))
        told = zip(rows.handles, rows.source, strict=True)
        self._last.update(told if all(rows.source) else ((handle, time) for handle, time in told if time))
        batch = self._converter.batch(rows, now, self._slack, self._floor)
        retyped = self._retyped.look(batch, self._converter.other)
        if details:
            batch.details.update((row, details[handle]) for row, handle in enumerate(rows.handles) if handle in details)
        batch.before, batch.after = notices, (*after, *retyped)
        batch.mark, batch.historical = mark, historical
        batch.snapshots = (Snapshot(group, 0, len(batch)),) if group is not None else ()
        self._inbox.put(batch, receipt)

    def hole(self, missing: int, until: int = 0) -> None:
        """Declare ``missing`` notification messages as lost for good, until the time of what follows (0: until now)."""
        now = until or self._clock.now()
        since = min(max(self._last.values(), default=now), now)
        self.put(Columns(), before=[Gap(self._device, "comm_loss", since, now, (), missing)])

    def unseen(self, since: int) -> None:
        """Declare that nobody sampled the device between the plant time ``since`` and now."""
        now = self._clock.now()
        self.put(Columns(), before=[Gap(self._device, "comm_loss", since, now)])

    def first_boot(self, rows: Columns, started: object) -> Boot:
        """Return the evidence after a connect; ``rows`` hold every tag in order, ``started`` is the start time of the server."""
        if self._boot is not None and quality_of(rows.status[self._boot]) is not Quality.BAD:
            self._boot_id = rows.values[self._boot]  # type: ignore[assignment]  # decoded, not judged yet
        known = started if isinstance(started, int) and started > 0 else None
        return Boot(self._device, self._clock.now(), _evidence(self._boot_id), known)

    @property
    def boot_id(self) -> int | str | None:
        """The boot tag's value, None without one."""
        return _evidence(self._boot_id)

    def same_boot(self, boot_id: int | str | None, started: object) -> Boot:
        """Return the evidence of a connection that goes on where the one before stopped: the restart, if there was one, is still to come."""
        self._boot_id = boot_id
        return Boot(self._device, self._clock.now(), boot_id, started if isinstance(started, int) and started > 0 else None)

    def server_state(self, state: object) -> bool:
        """Take note of the server's state; returns whether the quality of every value changed with it."""
        floor = state_floor(state)
        if floor == self._floor:
            return False
        self._floor = floor
        self._log.warning("opcua.server_state", state=state, usable=floor is None)
        return True

    def _boot_changes(self, rows: Columns, now: int) -> list[Notice]:
        out: list[Notice] = []
        if self._boot is None or self._boot not in rows.handles:
            return out
        for handle, value, status in zip(rows.handles, rows.values, rows.status, strict=True):
            if handle == self._boot and quality_of(status) is not Quality.BAD and value != self._boot_id:
                self._boot_id = value  # type: ignore[assignment]
                out.append(Boot(self._device, now, _evidence(self._boot_id)))
        return out

    def _overflows(self, rows: Columns, now: int) -> list[Notice]:
        if not any(rows.status):
            return []
        return [
            Gap(
                self._device,
                "queue_overflow",
                min(self._last.get(handle, source), source) or now,
                source or now,
                (self._tags[handle].name,),
            )
            for handle, status, source in zip(rows.handles, rows.status, rows.source, strict=True)
            if overflowed(status)
        ]


def _evidence(value: Value | None) -> int | str | None:
    """Return a boot tag's value as evidence: whole numbers and texts as they are, anything else as text."""
    return value if value is None or type(value) is int or isinstance(value, str) else str(value)
