"""The unit's mode: production, maintenance, manual, or one of the user's (PackML UnitModeCurrent; OPC 30050).

A mode decides whether stops are downtimes and whether parts belong to an order; it is kept over an outage, and a
change that is only found afterwards carries the interval in which it can have happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edge_agent.events.belonging import Modes
from edge_agent.events.reference import device_of
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase
from edge_agent.events.tables import code_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import AgentDown, DeviceDown, Quality, Reading

PACKML_MODES: Mapping[int, str] = {0: "Invalid", 1: "Production", 2: "Maintenance", 3: "Manual"}
"""PackML's own modes; 4 and above are the user's."""


class ModeMemory(msgspec.Struct, frozen=True):
    """The mode told last, its edge (UTC ns), and since when it could have changed unseen (None: it was watched)."""

    code: int | None = None
    since: int = 0
    unseen: int | None = None


class ModeRule:
    """Tells ``mode.changed`` and keeps mode, production and the context's mode in the picture."""

    name = "mode"
    phase = Phase.CONTEXT
    ticks = False
    version = 1
    state_type = ModeMemory

    def __init__(self, tag: str, modes: Modes) -> None:
        """Watch ``tag``."""
        self.tags = (tag,)
        self.fingerprint = tag
        self._tag = tag
        self._device = device_of(tag)
        self._modes = modes

    def initial(self) -> ModeMemory:
        """Nothing seen."""
        return ModeMemory()

    def step(self, state: ModeMemory, moment: Moment) -> tuple[ModeMemory, Outcome]:
        """Fold one moment; the first sample is a baseline."""
        memory = state
        for notice in moment.notices:
            memory = self._notice(memory, notice)
        reading = moment.readings.get(self._tag)
        if reading is None or reading.quality is Quality.BAD:
            return memory, NOTHING
        code = code_of(reading.value)
        if not isinstance(code, int):
            return memory, NOTHING
        if memory.code is None:
            memory = ModeMemory(code, reading.at.best)
            return memory, Outcome(picture=self._picture(code, moment))
        if code == memory.code:
            watched = msgspec.structs.replace(memory, unseen=None) if memory.unseen is not None else memory
            return watched, NOTHING if moment.picture.mode_code == code else Outcome(picture=self._picture(code, moment))
        event = self._changed(memory, code, reading, moment)
        return ModeMemory(code, event.time), Outcome((event,), picture=self._picture(code, moment))

    def _notice(self, memory: ModeMemory, notice: object) -> ModeMemory:
        """An absence of the device or the agent opens the interval in which a change would not have been seen."""
        if memory.code is None or memory.unseen is not None:
            return memory
        if isinstance(notice, DeviceDown) and notice.device == self._device:
            return msgspec.structs.replace(memory, unseen=max(notice.last_good or memory.since, memory.since))
        if isinstance(notice, AgentDown):
            return msgspec.structs.replace(memory, unseen=max(notice.since, memory.since))
        return memory

    def _changed(self, memory: ModeMemory, code: int, reading: Reading, moment: Moment) -> ProductionEvent:
        time = max(reading.at.best, memory.since if memory.unseen is None else memory.unseen)
        assert memory.code is not None  # noqa: S101 - a change has a mode it comes from
        return ProductionEvent(
            type="mode.changed",
            time=time,
            data={"from": self._named(memory.code), "to": self._named(code)},
            at=reading.at,
            interval=None if memory.unseen is None else (memory.unseen, max(time, reading.at.agent)),
            quality=reading.quality,
            late=moment.late,
        )

    def _named(self, code: int) -> dict[str, Any]:
        return {"code": code, "name": self._modes.name(code)}

    def _picture(self, code: int, moment: Moment) -> dict[str, Any]:
        return {
            "mode_code": code,
            "production": code in self._modes.production,
            "context": msgspec.structs.replace(moment.picture.context, mode=self._named(code)["name"]),
        }
