"""Golden traces are told as stories: a few lines of Python say what the plant does, and become a recording like one of a real line.

To add one, write a function into any ``traces_*.py`` of this folder and run ``make golden``:

    @trace(unit={"counters": {"total": {"tag": "plc1.count", "role": "total", "wraps": "uint16", "max_rate": "1/s"}}}, plc1={"count": "uint16"})
    def counter_wraps(story):
        \"\"\"A UInt16 wraps between two samples: 46 parts.\"\"\"
        story.at(0, count=65500)
        story.at(60, count=10)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.events.mescontext import DEVICE
from edge_agent.model.instant import NS, parse
from edge_agent.model.reading import AgentDown, Notice, Quality
from edge_agent.replay.line import line_in
from edge_agent.replay.plant import BAD, Plant, Sample
from edge_agent.replay.recording import FORMAT, Given, Header, Writer

TRACES = Path(__file__).parent / "traces"
START = "2026-06-01T06:00:00Z"
BERLIN = {
    "N": {"start": "22:00", "end": "06:00"},
    "M": {"start": "06:00", "end": "14:00"},
    "A": {"start": "14:00", "end": "22:00"},
}


class Story:
    """What the plant does, in seconds after ``start``. Tags without a device are ``plc1``'s; a value may be a `Sample`, or `BAD`."""

    def __init__(self, content: Mapping[str, Any], start: int, every: int = NS) -> None:
        self._start = start
        self._plant = Plant(line_in(content), start, every=every)
        self.given: list[Given] = []

    def _take(self, given: Iterable[Given]) -> None:
        self.given += given

    def _time(self, t: float) -> int:
        return self._start + round(t * NS)

    def wait(self, t: float) -> None:
        """Let time pass up to ``t``."""
        self._take(self._plant.until(self._time(t)))

    def at(self, t: float, values: Mapping[str, Any] | None = None, *, sampled: float | None = None, **more: Any) -> None:
        """Have tags show values at ``t``; those of one device come in one batch. ``sampled`` is an older time that the device stamps."""
        self.wait(t)
        by_device: dict[str, dict[str, Sample]] = {}
        for ref, value in {**(values or {}), **more}.items():
            device, _, name = ref.rpartition(".")
            by_device.setdefault(device or "plc1", {})[name] = value if isinstance(value, Sample) else Sample(value)
        for device, samples in by_device.items():
            self._take(self._plant.show(device, samples, sampled=None if sampled is None else self._time(sampled)))

    def each(self, first: float, last: float, step: float, values: Callable[[int], Mapping[str, Any]]) -> None:
        """Have tags show ``values(k)`` at ``first``, ``first + step`` ... up to ``last``."""
        for k in range(round((last - first) / step) + 1):
            self.at(first + k * step, values(k))

    def cut(self, t: float, device: str = "plc1") -> None:
        """Lose a device."""
        self.wait(t)
        self._take(self._plant.cut(device))

    def join(self, t: float, device: str = "plc1", *notices: Notice) -> None:
        """Have a device back."""
        self.wait(t)
        self._take(self._plant.join(device, notices))

    def boot(self, t: float, boot: int, device: str = "plc1") -> None:
        """Have a device show another boot counter."""
        self.wait(t)
        self._take(self._plant.boot(device, boot))

    def mes(self, t: float, **named: str | None) -> None:
        """Have the MES name what is made, on the topics that the context of the unit says; None and an empty text: nothing."""
        self.at(t, {f"{DEVICE}.{member}": name or "" for member, name in named.items()})

    def leap(self, t: float) -> None:
        """Have the gateway's clock set forward to ``t`` at once: no time passes in between."""
        self._take(self._plant.leap(self._time(t)))

    def kill(self, t: float, until: float) -> None:
        """Have the agent killed, and started again at ``until``; what is set with `at` in between must be told before, see `gone`."""
        self.gone(t)
        self.back(until)

    def gone(self, t: float, *, final: bool = False) -> None:
        """Have the agent killed (or stopped in order)."""
        self.wait(t)
        self._take(self._plant.stop_agent(final=final))

    def back(self, t: float) -> None:
        """Have the agent started again."""
        self.wait(t)
        self._take(self._plant.start_agent())

    def note(self, t: float, *notices: Notice) -> None:
        """Have a driver say something."""
        self.wait(t)
        self._take(self._plant.note(*notices))

    def history(self, t: float, *rows: tuple[float, str, Any], device: str = "plc1", notices: Sequence[Notice] = ()) -> None:
        """Have a device back with what it sampled while nobody listened: (time, tag, value)."""
        self.wait(t)
        told = [(self._time(at), tag, Sample(value)) for at, tag, value in rows]
        self._take(self._plant.history(device, told, notices))

    def ns(self, t: float) -> int:
        """Return ``t`` as UTC ns, for notices."""
        return self._time(t)

    def end(self) -> list[Given]:
        """Return everything, with a shutdown at the end."""
        self._take(self._plant.end(final=True))
        return self.given


@dataclass(frozen=True)
class Trace:
    """One story with its name, what it is about and the line that it is told of."""

    name: str
    about: str
    content: Mapping[str, Any]
    start: str
    tell: Callable[[Story], None]
    ticks: int = 1

    def recording(self) -> bytes:
        """Return the recording as it stands in the file."""
        story = Story(self.content, parse(self.start), self.ticks * NS)
        self.tell(story)
        return recorded(self.content, self.about, story.end())


def recorded(content: Mapping[str, Any], about: str, given: Iterable[Given]) -> bytes:
    """Return a recording of what was given."""
    file = io.BytesIO()
    devices = {device: tuple(tags) for device, tags in content["devices"].items()}
    writer = Writer(file, Header(FORMAT, devices, about=about, line=dict(content)))
    for one in given:
        if isinstance(one, AgentDown) or not hasattr(one, "device") or one.device:
            writer.put(one)
    return file.getvalue()


ALL: dict[str, Trace] = {}


def trace(
    *,
    unit: Mapping[str, Any],
    start: str = START,
    shifts: Mapping[str, Any] | None = None,
    time_zone: str = "UTC",
    unstamped: Iterable[str] = (),
    name: str = "",
    ticks: int = 1,
    **devices: Mapping[str, Any],
) -> Callable[[Callable[[Story], None]], Callable[[Story], None]]:
    """Make a function a golden trace: ``unit`` is what stands in its file (without version and name), ``plc1={...}`` are tags and types.

    A long story has a tick only every ``ticks`` seconds.
    """
    content: dict[str, Any] = {
        "units": [{"unit": "press", **unit}],
        "devices": {device: dict(tags) for device, tags in devices.items()},
    }
    topics = {member: "string" for member, source in unit.get("context", {}).items() if isinstance(source, Mapping)}
    content["devices"] |= {DEVICE: topics} if topics else {}
    unstamped = [*unstamped, DEVICE] if topics else unstamped
    content |= {"shifts": dict(shifts), "time_zone": time_zone} if shifts else {}
    content |= {"unstamped": sorted(unstamped)} if unstamped else {}

    def register(tell: Callable[[Story], None]) -> Callable[[Story], None]:
        called = name or tell.__name__
        if called in ALL:
            raise ValueError(f"there are two golden traces called {called}")
        ALL[called] = Trace(called, " ".join((tell.__doc__ or "").split()), content, start, tell, ticks)
        return tell

    return register


__all__ = ["ALL", "BAD", "BERLIN", "START", "TRACES", "Quality", "Sample", "Story", "Trace", "recorded", "trace"]
