"""What an alarm system of a device reports: conditions (OPC 10000-9) and the marks of a refresh, as values of readings.

A device's alarm source is a tag of type `CONDITION`: its samples are these instead of numbers. So they keep their place in the order of the data, are
bounded with it, and their losses are declared as those of any tag.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

CONDITION: Final = "condition"
"""The type of a tag whose values are conditions."""

Shelving = Literal["none", "timed", "one_shot"]


class Condition(NamedTuple):
    """One condition as the device reported it, or an event that is none (``momentary``).

    ``key`` is the same for the same condition over restarts and reconnects: its node id with the namespace's URI, ``#`` and the branch where it
    has one. ``time`` is when it changed last, ``since`` when its being active changed last (UTC ns, None where unknown). ``severity`` is 1 to 1000.
    ``of`` is the key of the condition whose branch it is: an earlier state of that, which still waits for somebody.
    None in a state: the device does not say. ``minor``: less severe than what raises an alarm. Texts are bounded and valid UTF-8.
    """

    key: str
    active: bool
    severity: int
    event_type: str = ""
    source: str | None = None
    source_node: str | None = None
    name: str | None = None
    time: int | None = None
    since: int | None = None
    message: str | None = None
    acked: bool | None = None
    confirmed: bool | None = None
    suppressed: bool | None = None
    shelved: Shelving | None = None
    kind: str | None = None
    by: str | None = None
    comment: str | None = None
    good: bool = True
    minor: bool = False
    momentary: bool = False
    of: str | None = None


class Refresh(NamedTuple):
    """A mark in the row of conditions: from ``begun`` to ``done`` the device told every condition that is of interest.

    ``unknown``: the device cannot tell, and ``text`` says why; what was active before is then not known any more.
    """

    phase: Literal["begun", "done", "unknown"]
    text: str = ""
