"""The agent as a process: signals, and the event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from edge_agent.agent.supervise import Agent
from edge_agent.config.schema import AgentConfig
from edge_agent.ports import PlantClock


def serve(
    config: AgentConfig,
    clock: PlantClock,
    *,
    source: Path | None = None,
    runner: Callable[[Coroutine[Any, Any, None]], None] | None = None,
) -> None:
    """Run the agent until SIGTERM or SIGINT; returns after a clean shutdown. SIGHUP has the files at ``source`` read again."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        agent = Agent(config, clock, source)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, agent.reload)
        await agent.run(stop)

    (runner or _run)(main())


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
