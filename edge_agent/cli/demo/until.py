"""How a person ends a demo: one of three signals, at any moment, and what is under way is given up in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(BaseException):
    """A signal ended the demo; not an Exception, so that nobody takes it for a failure of what was under way."""


def deaf() -> None:
    """Let no signal disturb what little is left to do."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block: a program that is being started would be left behind with nobody who knows it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stop:
    """Whether a person wants the end; further signals while everything is being ended change nothing."""

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.asked = asyncio.Event()
        """Set by a signal, and by whoever else quits."""
        self.signalled = asyncio.Event()

    def watch(self) -> None:
        """Answer the signals from now on, to the end of the loop."""
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        self.signalled.set()
        self.asked.set()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns; a signal cancels it, waits for its end and raises StoppedError."""
        task, signalled = asyncio.create_task(work), asyncio.create_task(self.signalled.wait())
        try:
            await asyncio.wait({task, signalled}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            signalled.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if self.signalled.is_set():
            if not task.cancelled():
                task.exception()  # whatever failed meanwhile is no news to somebody who wants the end
            raise StoppedError
        return task.result()
