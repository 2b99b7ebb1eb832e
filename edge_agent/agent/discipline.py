"""Whether the gateway's clock can be believed: what the kernel knows of its synchronisation (adjtimex(2)), and the steps of devices' clocks."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import msgspec

from edge_agent.events.encode import ClockState
from edge_agent.model.reading import Batch, ClockOffset, DeviceDown

_UNSYNC, _NANO = 0x0040, 0x2000  # STA_UNSYNC, STA_NANO of <sys/timex.h>
_ERROR = 5  # TIME_ERROR
_DEVICE_STEP = 2_000_000_000
"""Less than this is the delay of sampling and publishing, not a step of a device's clock (ns)."""
_MEASURED_STEP = 500_000_000
"""A device that was asked is known better (ns)."""


class Kernel(msgspec.Struct, frozen=True):
    """What the kernel says of its clock: synchronised or not, the offset still to be corrected and the greatest error, in ms."""

    synced: bool
    offset_ms: float = 0.0
    error_ms: float | None = None


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_long * 32),
    )  # fmt: skip


def kernel() -> Kernel:
    """Ask the kernel, changing nothing; where it cannot be asked the clock is not believed."""
    if not sys.platform.startswith("linux"):
        return Kernel(synced=False)
    timex = _Timex(modes=0)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return Kernel(synced=False)
    if state < 0:
        return Kernel(synced=False)
    scale = 1e6 if timex.status & _NANO else 1e3
    return Kernel(state != _ERROR and not timex.status & _UNSYNC, timex.offset / scale, timex.maxerror / 1e3)


class Discipline:
    """The state of the gateway's clock: ``unsynced`` until it was synchronised once, ``holdover`` when that is lost."""

    def __init__(self, ask: Callable[[], Kernel] = kernel) -> None:
        """Ask once."""
        self._ask = ask
        self.found = ask()
        self.state: ClockState = "synced" if self.found.synced else "unsynced"

    def look(self) -> tuple[ClockState, ClockState]:
        """Ask again; return the state before and now."""
        before = self.state
        self.found = self._ask()
        if self.found.synced:
            self.state = "synced"
        elif before == "synced":
            self.state = "holdover"
        return before, self.state


class DeviceStep(msgspec.Struct, frozen=True):
    """A device's clock jumped: its offset against the agent's before and after, in ns."""

    device: str
    before: int
    after: int


class DeviceClocks:
    """Watches the clocks of devices, by what they say when they are asked and by the stamps of their samples.

    Only a sample that follows another of the same tag was taken just now: a value that merely stands carries an old stamp.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._stamps: dict[str, dict[int, int]] = {}
        self._offset: dict[str, int] = {}
        self._measured: dict[str, int] = {}

    def seen(self, batch: Batch) -> list[DeviceStep]:
        """Return the steps that show in ``batch``."""
        steps: list[DeviceStep] = []
        for notice in (*batch.before, *batch.after):
            if isinstance(notice, DeviceDown):
                self._stamps.pop(notice.device, None)
                self._offset.pop(notice.device, None)
            elif isinstance(notice, ClockOffset):
                known = self._measured.get(notice.device)
                if known is not None and abs(notice.offset - known) > _MEASURED_STEP:
                    steps.append(DeviceStep(notice.device, known, notice.offset))
                self._measured[notice.device] = notice.offset
        if batch.historical:
            return steps
        step = self._in_rows(batch)
        return [*steps, step] if step is not None else steps

    def _in_rows(self, batch: Batch) -> DeviceStep | None:
        stamps = self._stamps.setdefault(batch.device, {})
        fresh, back = 0, False
        for tag, stamp in zip(batch.tags, batch.source, strict=True):
            last = stamps.get(tag)
            if stamp and last is not None and stamp != last:
                fresh = stamp
                back |= stamp < last - _DEVICE_STEP
            if stamp:
                stamps[tag] = stamp
        if not fresh:
            return None
        offset, known = fresh - batch.received, self._offset.get(batch.device)
        if known is None:
            self._offset[batch.device] = offset
            return None
        if not back and offset <= known + _DEVICE_STEP:
            self._offset[batch.device] = max(offset, known)  # what is less is delay
            return None
        self._offset[batch.device] = offset
        stamps.clear()
        if batch.device in self._measured:
            self._measured[batch.device] += offset - known
        return DeviceStep(batch.device, known, offset)
