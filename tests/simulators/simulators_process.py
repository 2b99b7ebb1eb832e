"""Start a simulator as a process of its own, wait for its ready line, end it by SIGTERM and insist on a clean end."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "simulators" / "scenarios"


@contextlib.asynccontextmanager
async def simulator(module, *arguments):
    """Yield (address of the ready line, process); afterwards the process has ended with code 0 and said nothing on stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"simulators.{module}",
        *map(str, arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        word, _, url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip().partition(" ")
        assert word == "ready", (await process.communicate())[1].decode()
        yield url, process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        out, errors = await asyncio.wait_for(process.communicate(), 10)
    ended = (process.returncode, errors.decode(), out.decode())
    assert ended == (0, "", ""), ended


def port_of(url):
    """The port of a ready line's address."""
    return int(url.rpartition(":")[2])
