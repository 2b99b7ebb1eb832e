"""Live reload: the files are read and checked whole; what is different in them is exchanged, or nothing is, and why not is told.

Reading runs in a thread of its own: polls go on meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import structlog

from edge_agent.agent.build import folds_of, metas_of
from edge_agent.agent.difference import Difference, difference
from edge_agent.agent.exchange import Exchange
from edge_agent.agent.faults import AgentFault, config_needs_restart, config_rejected
from edge_agent.agent.notify import notify
from edge_agent.agent.running import Running
from edge_agent.agent.unit import Unit
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.events.derive import Fold
from edge_agent.model.errors import ConfigError, StorageError
from edge_agent.status.report import ReloadReport

_TOLD = 20
"""Lines of problems that the fault carries; the answer to whoever asked has them all."""


class _Read(NamedTuple):
    config: AgentConfig
    difference: Difference
    folds: Mapping[str, Fold]
    meta: Callable[[Unit], bytes]


class Reloader:
    """Reloads one agent, one time after the other."""

    def __init__(self, running: Running, source: Path | None, asked: asyncio.Event) -> None:
        """Read from ``source`` whenever ``asked`` is set; None: there are no files to read."""
        self._running, self._source, self._asked = running, source, asked
        self._waiting: list[asyncio.Future[ReloadReport]] = []
        self._busy = asyncio.Lock()
        self._closed = False
        self._log = structlog.get_logger()

    async def ask(self) -> ReloadReport:
        """Reload and return what became of it."""
        if self._closed:
            return self._later("the agent is stopping", "reload when it runs again; it reads the files at its start anyway")
        answer: asyncio.Future[ReloadReport] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._asked.set()
        return await answer

    async def run(self) -> None:
        """Reload each time it is asked for, until cancelled."""
        while True:
            await self._asked.wait()
            async with self._busy:
                if self._closed:
                    return await asyncio.Event().wait() and None
                self._asked.clear()
                waiting, self._waiting = self._waiting, []
                self._answer(waiting, await self._reload())

    async def close(self) -> None:
        """Return when a reload that is under way is over; none begins any more."""
        self._closed = True
        async with self._busy:
            waiting, self._waiting = self._waiting, []
            self._answer(waiting, self._later("the agent is stopping", "start it; it reads the files then"))

    @staticmethod
    def _answer(waiting: list[asyncio.Future[ReloadReport]], report: ReloadReport) -> None:
        for answer in waiting:
            if not answer.done():
                answer.set_result(report)

    async def _reload(self) -> ReloadReport:
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reading the configuration")
        try:
            report = await self._tried()
        finally:
            notify(
                "READY=1",
                "STATUS=running" if self._running.parts.unapplied is None else "STATUS=running the configuration of before",
            )
        self._log.info("config.reload", outcome=report.outcome, cfg=report.cfg, changes=report.changes)
        return report

    async def _tried(self) -> ReloadReport:
        if self._source is None or not self._running.awake.is_set():
            return self._later("the store could not be opened yet", "mend its disk first (edge-agent status), then reload")
        try:
            read = await asyncio.to_thread(self._read, self._source)
        except ConfigError as error:
            return await self._not_applied("rejected", config_rejected(_short(str(error))), str(error))
        except Exception as error:  # noqa: BLE001 - a file that nobody thought of: log, status and answer tell it, and what runs goes on
            self._log.error("config.reload_failed", exc_info=error)
            text = f"the files cannot be read: {type(error).__name__}: {error}"
            return await self._not_applied("rejected", config_rejected(text), text)
        if read.difference.standing:
            fault = config_needs_restart(read.difference.standing)
            return await self._not_applied("refused", fault, fault.text)
        if read.difference.some:
            try:
                await Exchange(self._running, *read).run()
            except StorageError as error:
                return self._later(
                    f"the store does not take anything now: {error}", "mend its disk (edge-agent status), then reload"
                )
        await self._applied()
        if not read.difference.some:
            return ReloadReport("unchanged", self._running.parts.cfg)
        for caution in self._running.parts.cautions:
            self._log.warning("config.caution", text=caution)
        return ReloadReport("reloaded", self._running.parts.cfg, changes=read.difference.words())

    def _read(self, source: Path) -> _Read:
        collecting = gc.isenabled()
        gc.disable()  # a full collection holds everybody up, and this makes many objects that stay
        try:
            config = load(source)
            found = difference(self._running.config, config)
            return _Read(config, found, {} if found.standing else folds_of(config, self._running.clock), metas_of(config))
        finally:
            if collecting:
                gc.enable()

    def _later(self, text: str, remedy: str) -> ReloadReport:
        return ReloadReport("later", self._running.parts.cfg, text, remedy)

    async def _not_applied(self, outcome: Literal["rejected", "refused"], fault: AgentFault, text: str) -> ReloadReport:
        """Say once that what stands in the files does not run; the same mistake again is no news."""
        parts = self._running.parts
        if parts.unapplied != fault:
            await self._applied()
            parts.unapplied = fault
            self._log.warning("config.rejected", code=fault.code, text=fault.text, remedy=fault.remedy)
            await parts.journal.write(fault.event(self._running.clock.now(), "raised"))
        return ReloadReport(outcome, parts.cfg, text, fault.remedy)

    async def _applied(self) -> None:
        """End the fault of an earlier try."""
        parts = self._running.parts
        fault, parts.unapplied = parts.unapplied, None
        if fault is not None:
            await parts.journal.write(fault.event(self._running.clock.now(), "cleared"))


def _short(text: str) -> str:
    lines = text.splitlines()
    more = [f"and {len(lines) - _TOLD} lines more"] if len(lines) > _TOLD else []
    return "; ".join([*lines[:_TOLD], *more])
