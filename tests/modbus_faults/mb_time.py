"""Time that passes only when there is nothing to do: trials of seconds last as long as they compute, and a busy machine changes nothing.

Real sockets, a clock of our own: the loop's time stands while anything is ready and leaps to the next timer otherwise. What is sent over
loopback has arrived when the call returns; a pseudo-terminal takes a thread of the kernel, so `across` waits for it.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import selectors
import termios
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock

import serial  # type: ignore[import-untyped]

from simulators import modbus_links

_TURN = 20e-6
"""What one turn of the loop takes: nothing can go on for ever in no time."""

_GRAIN = 1e-3
"""Shortest leap, so that the timers of many trials come together."""

_STALL_EVERY = 0.002
_LONGEST_STALL = 2.0
"""Seconds in which nobody, neither the driver nor its device, does anything; begins in one turn of the loop out of 500."""

_LOOK = 20e-6
"""Real seconds between two looks."""

_ARRIVES_WITHIN = 5.0
"""Real seconds that a byte may need through a pseudo-terminal."""


class _Leaping(selectors.SelectSelector):
    """A selector that never waits while a timer is set: it leaps."""

    def __init__(self, stalls: Random | None) -> None:
        super().__init__()
        self.passed = 0.0
        self._stalls = stalls

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; where nothing is, let ``timeout`` have passed."""
        self.passed += _TURN
        if self._stalls is not None and self._stalls.random() < _STALL_EVERY:
            self.passed += self._stalls.uniform(0, _LONGEST_STALL)
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.passed += max(timeout, _GRAIN)
        return ready


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop with such a time."""

    def __init__(self, stalls: Random | None = None) -> None:
        """Begin at 0; ``stalls``: now and then the machine has no time for anybody."""
        self._leaping = _Leaping(stalls)
        super().__init__(self._leaping)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._leaping.passed


def leaping(trials: Coroutine[Any, Any, None], stalls: Random | None = None) -> None:
    """Run to the end in such a time."""
    with asyncio.Runner(loop_factory=lambda: LeapingLoop(stalls)) as runner, across():
        runner.run(trials)


def waiting(descriptor: int) -> int:
    """Return how many bytes can be read."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def arrived(descriptor: int, many: int) -> None:
    """Return when ``many`` bytes can be read; nothing else runs in this process meanwhile."""
    until = time.monotonic() + _ARRIVES_WITHIN
    while waiting(descriptor) < many:
        assert time.monotonic() < until, "the terminal keeps bytes back"
        time.sleep(_LOOK)


LINES: dict[str, tuple[int, int]] = {}
"""Pseudo-terminals in use, by path: the device's end and the master's."""


@contextmanager
def across() -> Iterator[None]:
    """Let what is written to one of `LINES` be at its other end when the call returns."""
    from_master, from_device = serial.Serial.write, os.write

    def asking(port: serial.Serial, data: bytes) -> int:
        ours = LINES[port.name][0]
        before = waiting(ours)
        sent: int = from_master(port, data)
        arrived(ours, before + sent)
        return sent

    def answering(ours: int, data: bytes) -> int:
        theirs = next(theirs for end, theirs in LINES.values() if end == ours)
        before = waiting(theirs)
        sent = from_device(ours, data)
        arrived(theirs, before + sent)
        return sent

    with mock.patch.object(serial.Serial, "write", asking), mock.patch.object(modbus_links, "write", answering):
        yield
