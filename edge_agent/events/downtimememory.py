"""What is remembered of a unit's downtimes between moments: the open one, the one that ended, and what may still explain them."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_agent.events.tables import Code


class Reason(msgspec.Struct, frozen=True):
    """Why: the machine's code as it is, words for it where there are any, the tag that said it, and what the MES calls it."""

    code: Code
    text: str | None
    source: str
    mes: str | None = None
    category: str | None = None

    @property
    def told(self) -> dict[str, Any]:
        """The reason as events carry it; what only a table can know stands there only where it does."""
        more = (("mes", self.mes), ("category", self.category))
        return {
            "code": self.code,
            "text": self.text,
            "source": self.source,
            **{name: value for name, value in more if value is not None},
        }


class Open(msgspec.Struct, frozen=True):
    """A downtime that runs; ``cause`` is the first one that said something, ``alarm`` the first-out alarm's id. Times UTC ns.

    ``skew``: so many ns longer than its stamps say it was, for the clock that gives them was set.
    """

    id: str
    start: int
    path: tuple[Code | None, ...] = ()
    cause: str | None = None
    reason: Reason | None = None
    alarm: str | None = None
    skew: int = 0


class DowntimeMemory(msgspec.Struct, frozen=True):
    """What a moment is judged by; times UTC ns.

    ``armed``: the machine was last known running in a production mode. ``code`` is the state now, ``since`` when it was told to begin, ``unknown`` since when it has
    not been known. ``ended`` is the last downtime while its reason may still come. ``reason`` and ``latched`` are the value of the
    reason tag and when it came; ``told``: it explains nothing more (it has been told, or stood there when first seen). ``split``: the
    last downtime ended because production was left, and the machine has not been seen in production since.
    """

    armed: bool = False
    open: Open | None = None
    ended: Open | None = None
    code: Code | None = None
    unknown: int | None = None
    order: str | None = None
    starved: bool = False
    blocked: bool = False
    reason: Code | None = None
    latched: int = 0
    told: bool = True
    since: int | None = None
    split: bool = False
