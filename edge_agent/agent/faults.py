"""The `device.fault` events of devices that need a person: raised once, again when they change, cleared once."""

from __future__ import annotations

from typing import Any

import structlog

from edge_agent.model.event import ProductionEvent
from edge_agent.model.reading import DeviceFault


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
