"""Polls that brought nothing, until they can be declared: each loss is one gap, from the last answer handed on to the next one (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edge_agent.drivers.modbus.watch import Watch
from edge_agent.model.reading import Gap, GapReason


class _Loss(NamedTuple):
    """Polls of ``watches`` that brought nothing, the ``first`` at that plant time; the last answer came at ``since`` (None: never)."""

    reason: GapReason
    since: int | None
    watches: Sequence[Watch]
    polls: int
    first: int


class Losses:
    """The losses of one device that are still open."""

    def __init__(self, device: str) -> None:
        """Nothing was lost."""
        self._device = device
        self._open: list[_Loss] = []

    def forget(self) -> None:
        """Drop all: they are part of a loss that is told otherwise."""
        self._open = []

    def add(self, reason: GapReason, watches: Sequence[Watch], count: int, first: int) -> None:
        """Add ``count`` polls of ``watches``, the first of them due, or failed, at ``first``; see `device.Device.lost`."""
        for number, loss in enumerate(self._open):
            if (loss.reason, loss.watches) == (reason, watches):
                self._open[number] = loss._replace(polls=loss.polls + count)
                return
        since = min((watch.handed_on for watch in watches if watch.handed_on is not None), default=None)
        if since is not None:
            since = min(since, first)
        self._open.append(_Loss(reason, since, watches, count, first))

    def ended(self, watches: Sequence[Watch], at: int, of: int) -> list[Gap]:
        """Return the gaps that an answer at ``at`` to ``watches`` ends, and consider them told; the device has ``of`` blocks."""
        if not self._open:
            return []
        ended = [loss for loss in self._open if any(watch in watches for watch in loss.watches)]
        self._open = [loss for loss in self._open if loss not in ended]
        return self._gaps(ended, at, of)

    def before(self, good: int, of: int) -> list[Gap]:
        """Return the gaps that began before the last ``good`` answer of a device of ``of`` blocks: what is told from there on does not hold them."""
        return self._gaps([loss for loss in self._open if loss.first < good], good, of)

    def _gaps(self, losses: Sequence[_Loss], until: int, of: int) -> list[Gap]:
        gaps = []
        for loss in losses:
            if loss.since is not None:
                whole = len(loss.watches) == of
                tags = () if whole else tuple(field.name for watch in loss.watches for field in watch.block.fields)
                gaps.append(Gap(self._device, loss.reason, min(loss.since, until), until, tags, loss.polls))
        return gaps
