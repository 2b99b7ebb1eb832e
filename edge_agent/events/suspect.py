"""Signals that cannot be true together: plausibility, told as ``signal.suspect`` raised and cleared (type 29).

Three of them: the machine says that it runs and its counter stands (``frozen``), its counter moves while it says that it stands (``moving``), and a heartbeat
that stands while its quality is good (``heartbeat``): then everything of that PLC program is old. The facts themselves are told all the same, unjudged.
Waiting is measured by the agent's clock, for the device's may be anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.reference import check_references, device_of
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, iso
from edge_agent.model.quantity import Duration
from edge_agent.model.reading import AgentDown, DeviceDown, Quality, Reading, Tag

_STANDS = frozenset({"stopped", "idle", "faulted", "held", "starved", "blocked", "suspended"})
_RUN_OUT = 5 * NS
"""So long after a stop parts may still leave the machine (ns)."""

Form = Literal["frozen", "moving", "heartbeat"]


class SuspectConfig(BaseModel):
    """One entry of ``plausibility:``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frozen: str | None = Field(default=None, description="name of a counter that must move while the machine runs")
    moving: str | None = Field(default=None, description="name of a counter that must stand while the machine stands")
    heartbeat: str | None = Field(default=None, description="device.tag that must change while the device answers")
    after: Duration = Field(default=60 * NS, gt=0, description="how long it may be so; give frozen more than the longest cycle")
    parts: int = Field(default=3, ge=1, description="moving: so many parts that are counted behind a stop are suspect")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if [self.frozen, self.moving, self.heartbeat].count(None) != 2:
            raise ValueError("a plausibility rule is frozen, or moving, or heartbeat; write one of them")
        return self

    @property
    def form(self) -> Form:
        """Which of the three it is."""
        return "frozen" if self.frozen is not None else "moving" if self.moving is not None else "heartbeat"


class SuspectMemory(msgspec.Struct, frozen=True):
    """The watched tag's last usable value and when it changed last; since when the machine runs or stands; the suspicion. Agent's UTC ns.

    ``steps`` is how many parts a counter told while the machine stands; ``raised`` is since when it is suspect (None: it is not).
    """

    value: bool | int | float | str | None = None
    moved: int = 0
    phase: str = ""
    since: int = 0
    steps: float = 0
    bad: bool = False
    raised: int | None = None


class SuspectRule:
    """One rule of plausibility over one tag."""

    phase = Phase.DOWNTIME
    ticks = True
    version = 1
    state_type = SuspectMemory

    def __init__(self, config: SuspectConfig, name: str, tag: str, states: tuple[str, ...]) -> None:
        """Watch ``tag``; ``states`` are the tags that the state is made from. The counter of ``moving`` is folded before, and tells its parts."""
        self.name = f"plausibility.{name}"
        self.tags = (tag, *(ref for ref in states if ref != tag and config.form != "heartbeat"))
        self.fingerprint = f"{config.form} {tag}"
        self._config, self._entry, self._tag = config, name, tag
        self._device = device_of(tag)

    def initial(self) -> SuspectMemory:
        """Nothing seen, nothing suspect."""
        return SuspectMemory()

    def step(self, state: SuspectMemory, moment: Moment) -> tuple[SuspectMemory, Outcome]:
        """Fold one moment; a loss proves nothing, so waiting begins anew behind it, and what is suspect stays so."""
        memory = self._lost(state, moment)
        reading = moment.readings.get(self._tag)
        now = reading.at.agent if reading is not None else moment.time if moment.tick else None
        if now is None:
            now = max((other.at.agent for other in moment.readings.values()), default=None)
        if now is None or self._device in moment.picture.down:
            return memory, NOTHING
        memory = self._state(memory, moment, now)
        memory, moved = self._sample(memory, reading, now, self._parts(moment))
        memory, event = self._judge(memory, moment, now, moved=moved)
        return (state if memory == state else memory), NOTHING if event is None else Outcome((event,))

    def _lost(self, memory: SuspectMemory, moment: Moment) -> SuspectMemory:
        for notice in moment.notices:
            if isinstance(notice, AgentDown) or (isinstance(notice, DeviceDown) and notice.device == self._device):
                return replace(memory, value=None, phase="", steps=0)
        return memory

    def _state(self, memory: SuspectMemory, moment: Moment, now: int) -> SuspectMemory:
        """Note when the machine began to run or to stand, as far as this rule cares."""
        state = moment.picture.state
        category = "" if state is None else state.category
        phase = "runs" if category == "running" and moment.picture.production else "stands" if category in _STANDS else ""
        return memory if phase == memory.phase else replace(memory, phase=phase, since=now, steps=0)

    def _parts(self, moment: Moment) -> float:
        """Return the parts that the counter of ``moving`` tells in this moment: over wraps and resets, and none for what it does not believe."""
        counts = (event.data for event in moment.events if event.type == "production.count")
        return float(sum(max(count["delta"], 0) for count in counts if count["counter"] == self._config.moving))

    def _sample(self, memory: SuspectMemory, reading: Reading | None, now: int, parts: float) -> tuple[SuspectMemory, bool]:
        """Take the watched tag in; return whether it moved. A bad sample says nothing, and waiting begins anew behind it."""
        if reading is None:
            return memory, False
        if reading.quality is Quality.BAD or not isinstance(reading.value, bool | int | float | str):
            return replace(memory, bad=True), False
        if memory.value is None or memory.bad:
            return replace(memory, value=reading.value, moved=now, bad=False), False
        if reading.value == memory.value:
            return memory, False
        behind = memory.phase == "stands" and now - memory.since > _RUN_OUT
        return replace(memory, value=reading.value, moved=now, steps=memory.steps + (parts if behind else 0)), True

    def _judge(
        self, memory: SuspectMemory, moment: Moment, now: int, *, moved: bool
    ) -> tuple[SuspectMemory, ProductionEvent | None]:
        form, config = self._config.form, self._config
        if memory.raised is not None:
            stands = now - memory.moved >= config.after
            over = {
                "frozen": moved or memory.phase == "stands",
                "moving": memory.phase == "runs" or (memory.phase == "stands" and stands),
                "heartbeat": moved,
            }[form]
            if not over:
                return memory, None
            return replace(memory, raised=None, steps=0), self._event("cleared", memory, moment, memory.raised, now)
        since = {"frozen": max(memory.moved, memory.since), "moving": memory.since, "heartbeat": memory.moved}[form]
        known = memory.value is not None and not memory.bad
        waited = known and now - since >= config.after
        suspect = {
            "frozen": waited and memory.phase == "runs",
            "moving": known and memory.phase == "stands" and memory.steps >= config.parts,
            "heartbeat": waited,
        }[form]
        if not suspect:
            return memory, None
        return replace(memory, raised=since), self._event("raised", memory, moment, since, now)

    def _event(self, action: str, memory: SuspectMemory, moment: Moment, since: int, now: int) -> ProductionEvent:
        state = moment.picture.state
        data: dict[str, Any] = {
            "action": action,
            "rule": f"{self._config.form}.{self._entry}",
            "form": self._config.form,
            "tags": list(self.tags),
            "since": iso(since),
            "value": memory.value,
            "state": None if state is None else {"code": state.code, "name": state.name, "category": state.category},
            "text": _WORDS[self._config.form].format(tag=self._tag, seconds=(now - since) // NS),
            "remedy": _REMEDIES[self._config.form],
            "severity": 400,
        }
        return ProductionEvent(
            type="signal.suspect", time=moment.time, data=data, causation=f"{moment.unit}/suspect/{self._entry}/{since}"
        )


_WORDS: Mapping[Form, str] = {
    "frozen": "the machine says that it runs, and {tag} stands for {seconds} s",
    "moving": "the machine says that it stands, and {tag} moves",
    "heartbeat": "{tag} stands for {seconds} s, and its quality is good: the program behind it may have stopped",
}
_REMEDIES: Mapping[Form, str] = {
    "frozen": "look at the sensor that counts, or at the state's wiring; give a longer `after` where cycles are longer",
    "moving": "look at the state's tag, or at a sensor that counts what is no part",
    "heartbeat": "look at the PLC program; what it says may be old",
}


def build(
    config: SuspectConfig, *, unit: str, name: str, tags: Mapping[str, Tag], counters: Mapping[str, str], states: tuple[str, ...]
) -> tuple[Rule[Any], ...]:
    """Return the rule of the entry ``name``; ``counters`` gives each counter's tag, ``states`` those of the state. Raises ValueError."""
    place = f"unit {unit}, plausibility.{name}.{config.form}"
    if config.heartbeat is not None:
        check_references([(place, config.heartbeat)], tags)
        return (SuspectRule(config, name, config.heartbeat, ()),)
    counter = str(config.frozen or config.moving)
    if counter not in counters:
        raise ValueError(f"{place}: there is no counter '{counter}'; write one of {', '.join(counters) or '(none)'}")
    if not states:
        raise ValueError(f"{place}: there is no state to compare it with; add state: {{tag: device.tag}}")
    check_references([(place, counters[counter])], tags)
    return (SuspectRule(config, name, counters[counter], states),)
