"""A poll of a fixed set of items: its Read requests encoded once, and each answer compared with the one before column by column.

Only what is remarkable goes row by row: `Sheet.changed` says None where it cannot tell.
"""

from __future__ import annotations

# asyncua re-exports without saying so and takes plain ints for its own number types.
# mypy: disable-error-code="attr-defined"
from collections.abc import Iterator, Sequence

from asyncua import ua

from edge_agent.drivers.opcua.encode import Ready, read_request
from edge_agent.drivers.opcua.glance import Glance, glance
from edge_agent.drivers.opcua.shape import Columns
from edge_agent.drivers.opcua.wire import results_at

_FEW = 8
"""One row in so many may change from poll to poll for bytes to be compared before anything is decoded."""


class Sheet:
    """The items of one Read request in its order, and their last answer as far as all of it has been told.

    ``plain``: none of the items has a deadband or is a part of a variable. ``careful``: the server does not answer them all at once.
    """

    def __init__(self, wanted: Sequence[ua.ReadValueId], handles: Sequence[int], *, plain: bool, careful: bool = False) -> None:
        self.wanted, self.handles = list(wanted), list(handles)
        self.plain, self.careful = plain, careful
        self.request: Ready = read_request(wanted)
        self._told: Columns | None = None
        self._glance: Glance | None = None
        self._rested = False

    def glance(self, body: bytes) -> Columns | None:
        """Return the rows that are news in an undecoded answer, where few are; None where the whole of it must be looked at."""
        told, before = self._told, self._glance
        if told is None or before is None:
            self._glance = None
            return None
        at = results_at(body)
        found = None if at is None else before.changed(body, at)
        if found is None or any(found[1].status):
            self._glance = None
            return None
        rows, news = found
        news.handles = [self.handles[row] for row in rows]
        for place, row in enumerate(rows):
            told.types[row], told.values[row], told.source[row] = news.types[place], news.values[place], news.source[place]
        return news

    def look_closer(self, body: bytes) -> None:
        """Compare the next answer with this one as bytes, if not much has changed in the last one."""
        at = results_at(body) if self._told is not None and self._rested else None
        self._glance = None if at is None else glance(body, at, len(self.handles))

    def changed(self, rows: Columns) -> list[int] | None:
        """Return the rows that are news after the last answer, whose place they take; None where they must be looked at one by one."""
        told = self._told
        if told is None or any(rows.status) or len(told) != len(rows):
            return None
        self._told = rows
        self._rested = told.values == rows.values and told.source == rows.source and told.types == rows.types
        if self._rested:
            return []
        pairs = zip(told.values, rows.values, told.source, rows.source, told.types, rows.types, strict=True)
        news = [row for row, (a, b, then, now, c, d) in enumerate(pairs) if then != now or a != b or c != d]
        self._rested = len(news) * _FEW < len(rows)
        return news

    def forget(self) -> Iterator[tuple[int, tuple[object, ...]]]:
        """Return what was told last by handle (type, value, status, source time), for whoever looks at rows one by one."""
        told, self._told, self._glance = self._told, None, None
        if told is None:
            return iter(())
        return zip(told.handles, zip(told.types, told.values, told.status, told.source, strict=True), strict=True)

    def remember(self, rows: Columns) -> None:
        """Take ``rows``, all of which have been looked at, for what was told last."""
        if self.plain and not any(rows.status) and rows.handles == self.handles:
            self._told = rows
