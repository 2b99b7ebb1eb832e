"""The agent with a sampling profiler: ``python -m benchmarks.sampled FILE ARGUMENTS-OF-EDGE-AGENT``.

A signal for every millisecond of CPU that the process has used looks where the main thread stands; what runs in C counts for the line of Python
that called it. The other threads' CPU is told as a whole. Costs about 2 %, and distorts nothing as a tracing profiler does. It begins when
the process gets SIGUSR2, so that the start is left out, and writes FILE at the end.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

_EVERY = 0.001
_DEEP = 60
_ROOT = str(Path(__file__).resolve().parents[1]) + "/"


class Samples:
    """Where the main thread was."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.rooms: Counter[str] = Counter()
        self.inclusive: Counter[str] = Counter()
        self.count = 0
        self.began = (0.0, 0.0)

    def start(self, *_: object) -> None:
        """Begin."""
        self.began = (time.process_time(), time.thread_time())
        signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY)

    def look(self, _: int, frame: FrameType | None) -> None:
        """Take one sample."""
        self.count += 1
        names: list[str] = []
        room = ""
        while frame is not None and len(names) < _DEEP:
            file = frame.f_code.co_filename
            names.append(f"{_short(file)}:{frame.f_code.co_qualname}" if sys.version_info >= (3, 11) else _short(file))
            if not room and file.startswith(_ROOT) and "/.venv/" not in file:
                room = _short(file)
            frame = frame.f_back
        if names:
            self.own[names[0]] += 1
            self.rooms[room or "elsewhere"] += 1
            self.inclusive.update(set(names))

    def result(self) -> dict[str, object]:
        """Return shares of the whole process's CPU since the start."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        process, thread = time.process_time() - self.began[0], time.thread_time() - self.began[1]
        main = thread / process if process else 0.0

        def shares(counter: Counter[str], most: int) -> dict[str, float]:
            return {name: round(count / max(self.count, 1) * main, 4) for name, count in counter.most_common(most)}

        told = {"cpu": process, "main": main, "samples": self.count, "own": shares(self.own, 40)}
        return told | {"rooms": shares(self.rooms, 30), "inclusive": shares(self.inclusive, 80)}


def _short(file: str) -> str:
    if "/site-packages/" in file:
        return file.rpartition("/site-packages/")[2]
    return file.removeprefix(_ROOT) if file.startswith(_ROOT) else file.rpartition("/")[2]


def main() -> None:
    """Run the agent."""
    target = Path(sys.argv[1])
    del sys.argv[1]
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.look)
    signal.signal(signal.SIGUSR2, samples.start)
    from edge_agent.cli import main as agent  # noqa: PLC0415 - the clock of the profile is set up first

    try:
        agent()
    finally:
        target.write_text(json.dumps(samples.result(), indent=1))


if __name__ == "__main__":
    main()
