"""The `device.fault` events of devices and tags that need a person, and `agent.fault` of what is no device: raised once, again when they change, cleared once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import DeviceFault, Settled, TagStatus

_TAG_REMEDIES: Final = {
    "tag_lost": "compare the tag's address with the device's program",
    "type_changed": "declare the type that the device sends now, or mend the device's program",
}


class DeviceFaults:
    """What is raised now, by device and code."""

    def __init__(self) -> None:
        """Begin with nothing raised."""
        self._raised: dict[tuple[str, str], DeviceFault] = {}
        self._log = structlog.get_logger()

    def event(self, notice: DeviceFault) -> ProductionEvent | None:
        """Return what a notice is worth saying, None when it is no news. What is raised stands in the log too."""
        key = notice.device, notice.code
        known = self._raised.get(key)
        if notice.ok:
            if known is None:
                return None
            del self._raised[key]
            self._log.info("device.fault_cleared", device=notice.device, code=notice.code)
            return _event(notice, "cleared", known)
        if known is not None and known.text == notice.text:
            return None
        self._raised[key] = notice
        self._log.warning("device.fault", device=notice.device, code=notice.code, text=notice.text, remedy=notice.remedy)
        return _event(notice, "raised", notice)

    def forget(self, devices: Collection[str], time: int) -> list[ProductionEvent]:
        """Return the end, at ``time``, of everything that is raised of ``devices``."""
        over = [key for key in self._raised if key[0] in devices]
        known = [self._raised.pop(key) for key in over]
        return [_event(msgspec.structs.replace(about, time=time), "cleared", about) for about in known]


def _event(notice: DeviceFault, action: str, about: DeviceFault) -> ProductionEvent:
    data: dict[str, Any] = {
        "code": notice.code,
        "device": notice.device,
        "action": action,
        "text": about.text,
        "severity": about.severity,
        "remedy": about.remedy,
    }
    return ProductionEvent(type="device.fault", time=notice.time, data=data)


class AgentFault(msgspec.Struct, frozen=True):
    """What the agent itself, or what it hears, needs a person for; ``severity`` is 1 to 1000 as in OPC 10000-9."""

    code: str
    text: str
    remedy: str
    severity: int = 500
    about: Mapping[str, Any] = {}

    def event(self, time: int, action: str) -> ProductionEvent:
        """Return its `agent.fault` at plant time ``time``: ``action`` is raised or cleared."""
        data = {
            "code": self.code,
            "action": action,
            "severity": self.severity,
            "text": self.text,
            "remedy": self.remedy,
            **self.about,
        }
        return ProductionEvent(type="agent.fault", time=time, data=data)


CLOCK_UNSYNCED: Final = AgentFault(
    "clock_unsynced",
    "the gateway's clock is not synchronised any more: its times drift from now on",
    "look at the time service (chronyc tracking, timedatectl) and at the way to its servers",
    600,
)


def config_rejected(text: str) -> AgentFault:
    """Return the fault of files that cannot be run: the configuration of before goes on."""
    remedy = (
        "mend the files that the text names (edge-agent check), then edge-agent reload; until then the configuration of before runs"
    )
    return AgentFault("config_rejected", text, remedy, 600)


def config_needs_restart(settings: Sequence[str]) -> AgentFault:
    """Return the fault of files that cannot be run without a restart: ``settings`` are those that a running agent cannot change."""
    text = f"{', '.join(settings)} cannot be changed while the agent runs; nothing of the new files is applied"
    remedy = "restart the service (systemctl restart edge-agent), or put these settings back and reload"
    return AgentFault("config_needs_restart", text, remedy, 600, {"settings": list(settings)})


def context_refused(topic: str, reason: str) -> AgentFault:
    """Return the fault of a message that would have named what is being made, and is not believed."""
    remedy = "correct what the MES publishes there, or member and pattern under context; nobody else may write to the topic"
    text = f"a message on {topic} is not believed: {reason}; what was known stays"
    return AgentFault("context_refused", text, remedy, 600, {"topic": topic})


class TagFaults:
    """What is raised of tags, over all connections of a device: each connection of a driver begins without knowing what the one before has told."""

    def __init__(self) -> None:
        """Begin with nothing raised."""
        self._raised: dict[str, dict[tuple[str, str], TagStatus]] = {}
        self._doubtful: dict[str, set[tuple[str, str]]] = {}

    def up(self, device: str) -> None:
        """Take note of a new connection: it will complain again of what is still so."""
        self._doubtful[device] = set(self._raised.get(device, ()))

    def event(self, notice: TagStatus) -> ProductionEvent | None:
        """Return what a notice is worth saying, None when it is no news."""
        key, raised = (notice.name, notice.code), self._raised.setdefault(notice.device, {})
        self._doubtful.get(notice.device, set()).discard(key)
        known = raised.get(key)
        if notice.ok:
            return _tag_event(raised.pop(key), notice.time, "cleared") if known is not None else None
        raised[key] = notice
        return _tag_event(notice, notice.time, "raised") if known is None or known.detail != notice.detail else None

    def raised(self) -> list[tuple[str, str, str]]:
        """Return what is raised now: code, of what, text."""
        return [
            (code, f"{device}.{name}", told.detail)
            for device, known in self._raised.items()
            for (name, code), told in known.items()
        ]

    def settled(self, notice: Settled) -> list[ProductionEvent]:
        """Return the end of everything that this connection has not complained of again."""
        raised = self._raised.get(notice.device, {})
        over = [key for key in raised if key in self._doubtful.get(notice.device, ())]
        self._doubtful.pop(notice.device, None)
        return [_tag_event(raised.pop(key), notice.time, "cleared") for key in over]

    def forget(self, device: str, time: int) -> list[ProductionEvent]:
        """Return the end, at ``time``, of everything that is raised of a device that is not read any more."""
        self._doubtful.pop(device, None)
        return [_tag_event(about, time, "cleared") for about in self._raised.pop(device, {}).values()]


def _tag_event(about: TagStatus, time: int, action: str) -> ProductionEvent:
    data = {
        "code": about.code,
        "device": about.device,
        "tag": about.name,
        "action": action,
        "text": about.detail,
        "severity": 500,
        "remedy": _TAG_REMEDIES[about.code],
    }
    return ProductionEvent(type="device.fault", time=time, data=data)
