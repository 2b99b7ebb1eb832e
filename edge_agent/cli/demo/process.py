"""One program of the demo: started in a session of its own, its output followed, ended by signals."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from edge_agent.model.errors import EdgeAgentError

_READY = 30.0
_END = 20.0


class StageError(EdgeAgentError):
    """A process of the demo did not do what it should; the text names its log."""


class Process:
    """One child process; its stdout is read line by line, its stderr goes to a log file."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        """Prepare to run ``arguments`` with this Python."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._arguments = arguments
        self._environment = environment
        self.lines: asyncio.Queue[str] = asyncio.Queue(maxsize=1000)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it (again)."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # never from the folder that the demo was started in
                *self._arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which ends everybody in order
            )
        self._reader = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for raw in process.stdout:
            if self.lines.full():
                self.lines.get_nowait()
            self.lines.put_nowait(raw.decode(errors="replace").rstrip("\n"))

    async def ready(self) -> str:
        """Wait for its ``ready ...`` line and return what follows. Raises StageError with the end of its log."""
        deadline = time.monotonic() + _READY
        while time.monotonic() < deadline:
            if self._process is not None and self._process.returncode is not None and self.lines.empty():
                break
            try:
                async with asyncio.timeout(0.2):
                    line = await self.lines.get()
            except TimeoutError:
                continue
            if line.startswith("ready"):
                return line.removeprefix("ready").strip()
        raise StageError(f"{self.name} did not start:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else "(no log)"

    def signal(self, number: int) -> None:
        """Send a signal if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def wait(self, seconds: float) -> int | None:
        """Return its exit code, None when it still runs after ``seconds``."""
        if self._process is None:
            return 0
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def end(self, number: int, seconds: float = _END) -> int | None:
        """Send a signal and wait; kill what does not end."""
        self.signal(number)
        code = await self.wait(seconds)
        if code is None:
            self.signal(9)
            await self.wait(5.0)
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=1.0)
            self._reader.cancel()
        return code
