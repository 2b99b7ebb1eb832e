"""The tasks of a running agent, by name: any of them may be exchanged, and one that ends by itself ends the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

Work = Coroutine[Any, Any, None]


class Crew:
    """Some tasks; made inside a running loop."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over = asyncio.Event()
        self._ended: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run ``work`` under a name that is free."""
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._done)
        return task

    def release(self, name: str) -> asyncio.Task[None] | None:
        """Return a task that may end from now on; whoever asks waits for it. None where there is none."""
        return self._tasks.pop(name, None)

    def releases(self, names: Iterable[str]) -> list[asyncio.Task[None]]:
        """Return those of the tasks that there are, as `release`."""
        return [task for name in names if (task := self.release(name)) is not None]

    async def dismiss(self, *names: str) -> None:
        """Cancel tasks and wait until they are over."""
        await over(self.releases(names))

    async def one_ended(self) -> None:
        """Return when a task has ended by itself; raises its error."""
        await self._over.wait()
        self._ended[0].result()

    async def end(self) -> None:
        """Cancel everybody."""
        await self.dismiss(*tuple(self._tasks))

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._tasks.get(task.get_name()) is task:
            self._ended.append(task)
            self._over.set()


async def over(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel ``tasks`` and wait for their end, whatever it is."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
