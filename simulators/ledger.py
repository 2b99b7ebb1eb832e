"""The ledger: what truly happened, one JSON object a line, written when it happens.

``{"t": 43.25, "what": "change", "value": {"tag": "total", "value": 2147483001}}``; t is in plant seconds. The file is line-buffered,
so that a killed simulator leaves a complete ledger.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simulators.vocabulary import SECOND


class Ledger:
    """Append-only; without a path it only counts."""

    def __init__(self, path: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._file = None if path is None else path.open("a", buffering=1, encoding="utf-8")

    def write(self, t: int, what: str, value: Any = None) -> None:
        """Record that ``what`` happened at t (ns since the epoch)."""
        self.counts[what] += 1
        if self._file is not None:
            self._file.write(json.dumps({"t": t / SECOND, "what": what, "value": value}, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Give all complete lines of a ledger; the last one may be torn while its writer runs."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
