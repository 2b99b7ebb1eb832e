"""What is wrong with a device that answers: raised as `device.fault` when it lasts, cleared when it is over (pure).

One late poll, one slow answer or one exception is a matter of that poll. A row of them needs a person, and is told once.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.model.reading import DeviceFault


class _Kind(NamedTuple):
    """How many bad ones in a row raise it, how many good ones in a row clear it, how bad it is of 1000, and what mends it."""

    after: int
    back: int
    severity: int
    remedy: str


KINDS = {
    "polls_late": _Kind(
        10, 10, 400, "poll it less often, lower the timeouts of slow or dead units on this line, or give it a line of its own"
    ),
    "slow": _Kind(3, 3, 400, "see why it needs so long; lengthen its poll and timeout, or give it a connection of its own"),
    "device_failure": _Kind(3, 1, 700, "look at the device itself: it reports a failure of its own"),
    "busy": _Kind(3, 1, 300, "poll it less often, set pause, or see what else asks it"),
    "closes": _Kind(5, 5, 300, "read its tags in fewer requests and less often; see whether another master uses its connections"),
}
"""The codes of `device.fault` for a device that answers."""


class Health:
    """The rows of good and bad ones of one device."""

    def __init__(self, device: str) -> None:
        """Begin well."""
        self._device = device
        self._rows: dict[tuple[str, str], int] = {}
        self._raised: dict[str, str] = {}
        self._notices: list[DeviceFault] = []

    def count(self, code: str, bad: bool, text: str, now: int, about: str = "") -> None:
        """Count one ``bad`` or good one of kind ``code``; ``about`` keeps rows of one kind apart (the blocks of a device)."""
        key = (code, about)
        if not bad and not self._raised:  # nearly every answer
            self._rows.pop(key, None)
            return
        kind = KINDS[code]
        row = self._rows.get(key, 0)
        self._rows[key] = max(row, 0) + 1 if bad else min(row, 0) - 1
        if bad and self._rows[key] == kind.after and code not in self._raised:
            self._raised[code] = about
            self._notices.append(DeviceFault(self._device, now, code, False, text, kind.remedy, kind.severity))
        elif self._raised.get(code) == about and -self._rows[key] == kind.back:
            del self._raised[code]
            self._notices.append(DeviceFault(self._device, now, code, True))

    @property
    def calm(self) -> bool:
        """Whether one more good answer changes nothing."""
        return not self._raised and not self._rows

    def raised(self) -> tuple[str, ...]:
        """Return the codes that are raised now."""
        return tuple(self._raised)

    def take(self) -> list[DeviceFault]:
        """Return what is to be told, and consider it told."""
        told, self._notices = self._notices, []
        return told
