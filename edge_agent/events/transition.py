"""How a machine goes from one state to the next, as far as the agent can know: one moment's work on one `StateMemory`.

Three things end what is known: a lost link (Unknown from the last good sample on), a restart of the device (every chain of states is
broken), an absence of the agent (no fact about the machine: one change with its interval, or none). States are never synthesised.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from edge_agent.events.lasting import SET, lasted
from edge_agent.events.restart import BootMark, restarted
from edge_agent.events.rule import Moment, StateFacts
from edge_agent.events.tables import Code, StateTable, code_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS
from edge_agent.model.reading import Boot, DeviceDown, Quality, Reading, Timestamps

UNKNOWN = "Unknown"
"""The name of what the agent says while it does not know; the code is null then."""

_SILENT = 10 * NS
"""So long after a restart behind a living link a tag that reports by exception has confirmed its value by saying nothing."""


class Pending(msgspec.Struct, frozen=True):
    """A change that has not yet outlasted the debounce: the new code and its first edge (UTC ns)."""

    code: Code
    time: int
    at: Timestamps
    quality: int


class StateMemory(msgspec.Struct, frozen=True):
    """What was told last (``code`` None = Unknown, or nothing seen yet), and what a return has to be judged by; times UTC ns.

    ``heard`` is ``since`` by the agent's clock (None: not known). ``last`` is the code before Unknown, ``broken`` tells of a restart since then. ``agent_away`` is set from an absence of the agent to
    the next sample, ``confirm`` from a restart behind a living link to the next sample. ``starved`` and ``blocked`` are the flags.
    """

    seen: bool = False
    code: Code | None = None
    category: str = "unknown"
    since: int = 0
    last: Code | None = None
    broken: bool = False
    confirm: int | None = None
    agent_away: int | None = None
    pending: Pending | None = None
    boot: BootMark = BootMark()
    starved: bool = False
    blocked: bool = False
    heard: int | None = None


class Transition:
    """Works on one memory in one moment; ``memory`` and ``events`` are the result. Thrown away after it."""

    def __init__(self, memory: StateMemory, moment: Moment, table: StateTable, debounce: int) -> None:
        """Start from ``memory``; a change is told when it has lasted ``debounce`` ns."""
        self.memory = memory
        self.events: list[ProductionEvent] = []
        self._table = table
        self._moment = moment
        self._debounce = debounce

    # -- what happened to the device and the agent ---------------------------------------------------------------------------

    def agent_was_away(self, since: int) -> None:
        """Note that nobody watched since ``since``."""
        memory = self.memory
        if memory.code is not None:
            self.memory = replace(memory, agent_away=max(since, memory.since), pending=None)

    def lost(self, notice: DeviceDown) -> None:
        """Go to Unknown from the last good sample on; what was never known cannot be lost."""
        memory = self.memory
        since = memory.agent_away if notice.last_good is None else notice.last_good
        if since is None or not memory.seen:
            return
        if memory.pending is not None and since - memory.pending.time >= self._debounce:
            self._settle(memory.pending)
        if self.memory.code is None:
            self.memory = replace(self.memory, confirm=None)
        else:
            self._to_unknown(since, None)

    def booted(self, notice: Boot) -> None:
        """Break the chain of states when the device restarted, also where nobody noticed a lost link."""
        mark, restart = restarted(self.memory.boot, notice)
        if mark != self.memory.boot:
            self.memory = replace(self.memory, boot=mark)
        if not restart or not self.memory.seen:
            return
        if self.memory.code is not None:
            away = self.memory.agent_away
            if away is None:
                self._to_unknown(notice.time, (self.memory.since, max(notice.time, self.memory.since)))
            else:
                self._to_unknown(away, (away, max(notice.time, away)))
            self.memory = replace(self.memory, confirm=notice.time)
        self.memory = replace(self.memory, broken=True)

    def _to_unknown(self, time: int, interval: tuple[int, int] | None) -> None:
        memory = self.memory
        time = max(time, memory.since)
        self._tell({"code": None, "name": UNKNOWN, "category": "unknown"}, time, interval=interval)
        heard = None if memory.heard is None else memory.heard + time - memory.since
        self.memory = StateMemory(
            seen=True, since=time, last=memory.code, boot=memory.boot, starved=memory.starved, blocked=memory.blocked, heard=heard
        )

    # -- what the machine says -----------------------------------------------------------------------------------------------

    def flags(self, *, starved: bool, blocked: bool) -> None:
        """Take the flags in; they decide which kind of Suspended a state is."""
        if starved != self.memory.starved or blocked != self.memory.blocked:
            self.memory = replace(self.memory, starved=starved, blocked=blocked)

    def refine(self) -> None:
        """A flag that comes after the state still says which kind of Suspended it is; one that goes before its end takes nothing back."""
        if self.memory.category == "suspended" and (self.memory.starved or self.memory.blocked):
            self.memory = replace(self.memory, category="starved" if self.memory.starved else "blocked")

    def sample(self, reading: Reading) -> None:
        """Take one usable sample of the state in; a value that is no code says nothing."""
        code = code_of(reading.value)
        if code is None:
            return
        memory = self.memory
        if not memory.seen:
            self._arrived(code, reading.at.best, self._heard(reading.at))
        elif memory.code is None:
            self._known_again(code, reading)
        elif memory.agent_away is not None:
            self._watched_again(code, reading, memory.agent_away)
        else:
            self._next(code, reading)

    def _next(self, code: Code, reading: Reading) -> None:
        edge = Pending(code, _edge(reading, self.memory.since), reading.at, int(reading.quality))
        first = self.memory.pending
        if first is not None and edge.time - first.time >= self._debounce:
            self._settle(first)
            first = None
        if code == self.memory.code:
            if self.memory.pending is not None:
                self.memory = replace(self.memory, pending=None)
            return
        if first is not None:
            edge = Pending(code, first.time, first.at, max(first.quality, edge.quality))
        if self._debounce:
            self.memory = replace(self.memory, pending=edge)
        else:
            self._settle(edge)

    def _settle(self, edge: Pending) -> None:
        """Tell a change that lasted, with the time of its first edge."""
        self._tell(self._told(edge.code), edge.time, at=edge.at, quality=Quality(edge.quality))
        self._arrived(edge.code, edge.time, self._heard(edge.at))

    def _watched_again(self, code: Code, reading: Reading, away: int) -> None:
        """After an absence of the agent: nothing when the state is the same, else one change somewhere in between."""
        if code == self.memory.code:
            self.memory = replace(self.memory, agent_away=None)
            return
        time = _edge(reading, away, later=True)
        interval = (away, max(time, reading.at.agent))
        self._tell(self._told(code), time, at=reading.at, quality=reading.quality, interval=interval)
        self._arrived(code, time, self._heard(reading.at))

    def _known_again(self, code: Code, reading: Reading) -> None:
        """Out of Unknown: assumed to be unbroken when nothing speaks against it, and never more than that without evidence."""
        memory = self.memory
        time = _edge(reading, memory.since, later=True)
        broken = memory.broken or code != memory.last
        interval = (memory.since, time) if broken else None
        event = self._tell(self._told(code), time, at=reading.at, quality=reading.quality, interval=interval)
        event.data["continuity"] = "broken" if broken else "assumed"
        self._arrived(code, time, self._heard(reading.at))

    def time_passed(self) -> None:
        """Do what time alone brings about: a debounced change, and the silence that confirms a value after a restart."""
        memory, now = self.memory, self._moment.time
        edge = memory.pending
        if edge is not None and now - edge.at.agent >= self._debounce:
            self._settle(edge)
        elif memory.confirm is not None and memory.last is not None and now - memory.confirm >= _SILENT:
            time = max(now, memory.since)
            self._tell(self._told(memory.last), time, interval=(memory.since, time)).data["continuity"] = "broken"
            self._arrived(memory.last, time, now)

    def _heard(self, at: Timestamps) -> int | None:
        """Return when the agent had a sample, by its own clock; what a device kept was sampled long before."""
        return None if self._moment.historical else at.agent

    def _arrived(self, code: Code, time: int, heard: int | None) -> None:
        memory = self.memory
        self.memory = StateMemory(
            seen=True,
            code=code,
            category=self._category(code),
            since=time,
            boot=memory.boot,
            starved=memory.starved,
            blocked=memory.blocked,
            heard=heard,
        )

    # -- words ---------------------------------------------------------------------------------------------------------------

    def facts(self) -> StateFacts | None:
        """Return the state for the unit's picture; None while nothing was ever seen."""
        memory = self.memory
        if not memory.seen:
            return None
        return StateFacts(memory.code, self._name(memory.code), memory.category, memory.since, self._table.model)

    def _category(self, code: Code) -> str:
        category = self._table.state(code).category
        if category == "suspended" and (self.memory.starved or self.memory.blocked):
            return "starved" if self.memory.starved else "blocked"
        return category

    def _name(self, code: Code | None) -> str:
        return UNKNOWN if code is None else self._table.state(code).name

    def _told(self, code: Code) -> dict[str, Any]:
        return {"code": code, "name": self._name(code), "category": self._category(code)}

    def _tell(
        self,
        to: dict[str, Any],
        time: int,
        *,
        at: Timestamps | None = None,
        quality: Quality = Quality.GOOD,
        interval: tuple[int, int] | None = None,
    ) -> ProductionEvent:
        memory = self.memory
        before, after = memory.code, to["code"]
        event = ProductionEvent(
            type="state.changed",
            time=time,
            data={
                "from": {"code": before, "name": self._name(before), "category": memory.category},
                "to": to,
                "model": self._table.model,
                "reason": None,
                "prev_duration_s": self._lasted(time, at) / NS,
                "missed_intermediate": before is not None and after is not None and self._table.skips(before, after),
            },
            at=at,
            interval=interval,
            quality=quality,
            late=self._moment.late,
        )
        self.events.append(event)
        return event

    def _lasted(self, time: int, at: Timestamps | None) -> int:
        """Return how long the state before lasted (ns), whatever became of the clock of its device."""
        memory, now = self.memory, None if at is None else self._heard(at)
        moved = at is not None and at.source is not None and at.source < memory.since and time >= memory.since
        return lasted(memory.since, memory.heard, time, now, moved=moved)


def _edge(reading: Reading, since: int, *, later: bool = False) -> int:
    """Return the best time of ``reading`` that does not lie before ``since`` (``later``: must lie after it).

    A value that still stands after an outage carries the time of its last change, and a clock may be set back: then the next
    clock in the chain tells when it was read. One that was watched and carries a time from long before ``since`` is of a clock that was set.
    """
    floor = since + 1 if later else since
    if not later and reading.at.best < since - SET:
        return reading.at.best
    for time in (reading.at.source, reading.at.server):
        if time is not None and time >= floor:
            return time
    return max(reading.at.agent, since)
