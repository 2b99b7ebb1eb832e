"""The course of a demo: wait for the baseline, start the plant, inject faults at their times, stop, and ask for the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import Any

from edge_agent.cli.demo.process import StageError
from edge_agent.cli.demo.stage import Stage

_BASELINE = 60.0
_PATIENCE = 6.0
"""Machine seconds after which a broker of the user's that the agent has no link to is the reason, not the start."""
_SETTLED = 0.5
"""Machine seconds after the last plant second, for what is still on its way into the agent."""

_WAY_BACK = 30.0
"""Machine seconds that an agent or a broker gets after a fault at the end to be heard of again, and what a broker lost to be asked for and sent again."""


class Play:
    """One run of a scenario."""

    def __init__(self, stage: Stage, stop: asyncio.Event) -> None:
        """Play on ``stage`` until its end or until ``stop`` is set."""
        self.stage = stage
        self.stop = stop
        self.progress: dict[str, Any] = {}
        self.says = "waiting for a first value of every tag"
        self._by_hand: set[asyncio.Task[None]] = set()
        self._healed_at: int | None = None

    async def run(self, show: Callable[[], None]) -> bool:
        """Play; return True when the scenario reached its end, False when somebody stopped it."""
        watching = asyncio.create_task(self._watch(show))
        faults: list[asyncio.Task[None]] = []
        try:
            await self._baseline()
            if self.stop.is_set():
                return False
            self.stage.begin()
            self.says = "playing"
            faults = [asyncio.create_task(work) for work in (*self._kills(), *self._broker_stops())]
            ended = await self._until(self.stage.length) and await self._pause(_SETTLED)
            for fault in faults:
                if ended:
                    await fault
                fault.cancel()
            return ended and await self._heard_again() and await self._whole()
        finally:
            await _ended([watching, *faults, *self._by_hand])  # none of them may start a process again after this

    async def _heard_again(self) -> bool:
        """After a fault near the end, wait until something arrives that was sent after it: the agent's way back takes machine time."""
        before = self._healed_at
        if before is None:
            return True
        deadline = time.monotonic() + _WAY_BACK
        while self.progress.get("received", 0) <= before and time.monotonic() < deadline:
            if not await self._pause(0.1):
                return False
        return await self._pause(_SETTLED)

    async def _whole(self) -> bool:
        """Wait until nothing is missing at the MOM side: an agent that has ended answers nobody who asks for what a dead broker took along."""
        deadline = time.monotonic() + _WAY_BACK
        while not self._has_everything() and time.monotonic() < deadline:
            if not await self._pause(0.1):
                return False
        return True

    def _has_everything(self) -> bool:
        return bool(self.progress.get("connected")) and not self.progress.get("lost")

    async def _baseline(self) -> None:
        late = time.monotonic() + _PATIENCE
        try:
            async with asyncio.timeout(_BASELINE):
                while not self.progress.get("ready") and not self.stop.is_set():
                    if self.stage.external_broker and time.monotonic() > late and (why := self.stage.broker_trouble()):
                        raise StageError(f"the agent has no link to the broker {self.stage.broker}: {why}")
                    if not self.stage.processes["agent"].running:
                        raise StageError(f"the agent ended:\n{self.stage.processes['agent'].tail()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log = self.stage.processes["agent"].tail()
            raise StageError(f"the agent had no first value of every tag within {_BASELINE:g} s:\n{log}") from None

    async def _until(self, t: float) -> bool:
        """Wait for plant time ``t``; return False when somebody stopped the demo before."""
        while (left := (t - self.stage.plant_time()) / self.stage.speed) > 0:
            if not await self._pause(min(left, 0.2)):
                return False
        return True

    async def _pause(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return True
        return False

    # -- faults --------------------------------------------------------------------------------------------------

    def _kills(self) -> list[Any]:
        return [self._kill(begin, end) for begin, end in self.stage.windows("agent_kills")]

    def _broker_stops(self) -> list[Any]:
        return [self._stop_broker(begin, end) for begin, end in self.stage.windows("broker_stops")]

    async def _kill(self, begin: float, end: float) -> None:
        agent = self.stage.processes["agent"]
        await self._until(begin)
        self.says = "agent killed (SIGKILL)"
        await agent.end(signal.SIGKILL)
        await self._until(end)
        await agent.start()
        self._healed_at = self.progress.get("received", 0)
        self.says = "agent started again"

    async def _stop_broker(self, begin: float, end: float) -> None:
        broker = self.stage.processes.get("broker")
        if broker is None:
            return  # a broker of the user's is not ours to stop
        await self._until(begin)
        self.says = "broker stopped"
        await broker.end(signal.SIGKILL)
        await self._until(end)
        await broker.start()
        await broker.ready()
        self._healed_at = self.progress.get("received", 0)
        self.says = "broker back"

    def key(self, key: str) -> None:
        """Do what a key asks for: b broker, p PLC link, k kill the agent, q quit."""
        if key == "q":
            self.stop.set()
        elif self.stage.started is None:
            return  # before the first values nothing can be cut: there is no baseline to go on from
        elif key == "p":
            self.stage.processes["plc_link"].signal(signal.SIGUSR1)
            self.says = "PLC link toggled"
        elif key in {"b", "k"}:
            name = {"b": "broker", "k": "agent"}[key]
            task = asyncio.create_task(self._toggle(name))
            self._by_hand.add(task)
            task.add_done_callback(self._by_hand.discard)

    async def _toggle(self, name: str) -> None:
        process = self.stage.processes.get(name)
        if process is None:
            return
        if process.running:
            self.says = f"{name} killed; press the key again to start it"
            await process.end(signal.SIGKILL)
        else:
            self.says = f"{name} started"
            await process.start()

    # -- the MOM side --------------------------------------------------------------------------------------------

    async def _watch(self, show: Callable[[], None]) -> None:
        """Follow what the MOM side says of itself."""
        lines = self.stage.processes["mom"].lines
        while True:
            with contextlib.suppress(TimeoutError, ValueError):
                async with asyncio.timeout(0.25):
                    self.progress = json.loads(await lines.get())
            show()

    async def finish(self) -> dict[str, Any]:
        """Stop the agent as an operator does, let the MOM side judge, and return its report."""
        agent, mom = self.stage.processes["agent"], self.stage.processes["mom"]
        code = await agent.end(signal.SIGTERM)
        if code != 0:
            raise StageError(f"the agent ended with exit code {code}:\n{agent.tail(40)}")
        await mom.end(signal.SIGTERM)
        if not self.stage.report_file.exists():
            raise StageError(f"the MOM side wrote no report:\n{mom.tail()}")
        report: dict[str, Any] = json.loads(self.stage.report_file.read_text(encoding="utf-8"))
        return report


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
