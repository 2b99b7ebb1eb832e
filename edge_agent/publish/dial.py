"""Runs what blocks (name look-up, TCP, TLS handshake) beside the event loop, and forgets it when it takes too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


async def beside(work: Callable[[], object], undo: Callable[[], None]) -> None:
    """Run ``work`` in a thread of its own and return when it is done, or raise what it raised.

    When the caller stops waiting (timeout, cancellation), ``undo`` is called as soon as ``work`` comes back. Not the loop's
    executor: a name look-up can block for half a minute, and the program would wait for it at its end.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if done.cancelled():
            if error is None:
                undo()
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, who is waiting on the future
            error = raised
        try:
            loop.call_soon_threadsafe(finish, error)
        except RuntimeError:  # the loop has ended meanwhile, nobody waits any more
            if error is None:
                undo()

    threading.Thread(target=run, name="mqtt-dial", daemon=True).start()
    await done
