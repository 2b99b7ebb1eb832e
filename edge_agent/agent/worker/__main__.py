"""``python -m edge_agent.agent.worker DESCRIPTOR LEVEL STYLE``: a worker; started by the agent only, ends with it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from edge_agent import lean

lean.prepare()  # before the first import of a library that it is about

from edge_agent import logs  # noqa: E402 - as above
from edge_agent.agent.clock import plant_clock  # noqa: E402 - as above
from edge_agent.agent.worker.child import Child  # noqa: E402 - as above
from edge_agent.agent.worker.wire import COMMANDS, pipe  # noqa: E402 - as above


async def _serve(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as sock:
        clock = plant_clock()
        child = Child(await pipe(sock, COMMANDS), clock)
        async with asyncio.TaskGroup() as group:
            # the demo's clock sees its start only while somebody waits, and a driver that subscribes waits for no time
            started = group.create_task(clock.sleep_until(clock.now() + 1))
            await child.run()
            started.cancel()


def main() -> None:
    """Serve until the agent closes the pipe; its signals are the agent's business."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    descriptor, level, style = sys.argv[1:]
    logs.configure(level, style if style != "auto" else None)  # type: ignore[arg-type]  # the agent's own words
    try:
        import uvloop  # noqa: PLC0415 - absent on some platforms
    except ImportError:
        asyncio.run(_serve(int(descriptor)))
    else:
        uvloop.run(_serve(int(descriptor)))


if __name__ == "__main__":
    main()
