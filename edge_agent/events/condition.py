"""Alarms that a device tells by itself, one by one (OPC 10000-9): raised, cleared, acknowledged, shelved."""

from __future__ import annotations

from msgspec.structs import replace

from edge_agent.events.account import Account, ConditionMemory, ConditionSettings
from edge_agent.events.alarmset import AlarmSet
from edge_agent.events.reference import device_of, name_of
from edge_agent.events.rule import Moment, Outcome, Phase
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, Gap, Notice, TagStatus

__all__ = ["ConditionRule", "ConditionSettings"]


class ConditionRule:
    """Tells the alarms of one alarm source."""

    phase = Phase.STATE
    ticks = True
    version = 1
    state_type = ConditionMemory

    def __init__(self, settings: ConditionSettings, name: str) -> None:
        """Watch the source of ``settings`` for the entry ``name``."""
        self.name = f"alarms.{name}"
        self.tags = (settings.ref,)
        self.fingerprint = f"conditions {settings.ref}"
        self._settings = settings
        self._device, self._tag = device_of(settings.ref), name_of(settings.ref)

    def initial(self) -> ConditionMemory:
        """Nothing told yet."""
        return ConditionMemory()

    def step(self, state: ConditionMemory, moment: Moment) -> tuple[ConditionMemory, Outcome]:
        """Fold one moment."""
        settings = self._settings
        alarms = AlarmSet(state.alarms, moment, severity=settings.severity, kind=settings.kind, limit=settings.limit)
        work = Account(state, alarms, moment, settings)
        for notice in moment.notices:
            self._notice(work, notice)
        reading = moment.readings.get(settings.ref)
        if reading is not None:
            work.take(reading)
        if moment.tick:
            alarms.calm()
        pictured = alarms.pictured()
        picture = {"alarms": pictured} if pictured != moment.picture.alarms else None
        after = work.memory if work.memory.alarms is alarms.memory else replace(work.memory, alarms=alarms.memory)
        return after, Outcome((*work.told, *alarms.events), picture=picture)

    def _notice(self, work: Account, notice: Notice) -> None:
        if isinstance(notice, AgentDown):
            work.away(notice.since)
        elif getattr(notice, "device", None) != self._device:
            return
        elif isinstance(notice, DeviceDown):
            work.away(notice.last_good)
        elif isinstance(notice, Gap):
            if not notice.tags or self._tag in notice.tags:
                work.away(notice.since)
        elif isinstance(notice, TagStatus):
            if notice.name == self._tag and not notice.ok:
                work.away(notice.time)
        elif isinstance(notice, Boot):
            work.boot(notice)
