"""Progress of something slow, on stderr, when it takes longer than people like to wonder."""

from __future__ import annotations

import sys
import time

_QUIET = 2.0
_EVERY_TURN = 0.2


class Progress:
    """Prints what it is told, but not in the first two seconds, nor too often: on a terminal, in one line that is wiped at the end.

    Elsewhere it keeps silent: a log or a pipe wants the result.
    """

    def __init__(self) -> None:
        """Start counting now."""
        self._began = time.monotonic()
        self._last = 0.0
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __call__(self, text: str) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if not self._terminal or now - self._began < _QUIET or now - self._last < _EVERY_TURN:
            return
        self._last, self._shown = now, True
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        """Wipe the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
