"""Progress of something slow, on stderr, when it takes longer than people like to wonder."""

from __future__ import annotations

import sys
import time

_QUIET = 2.0
_EVERY_LINE = 5.0
_EVERY_TURN = 0.2


class Progress:
    """Prints what it is told, but not in the first two seconds, nor too often; on a terminal in one line that is wiped at the end."""

    def __init__(self) -> None:
        """Start counting now."""
        self._began = time.monotonic()
        self._last = 0.0
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __call__(self, text: str) -> None:
        """Say how far it is."""
        now = time.monotonic()
        if now - self._began < _QUIET or now - self._last < (_EVERY_TURN if self._terminal else _EVERY_LINE):
            return
        self._last, self._shown = now, True
        print(f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr, flush=True)

    def done(self) -> None:
        """Wipe the line."""
        if self._shown and self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
