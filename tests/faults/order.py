"""What a stage is asked to do."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Order:
    """``trials`` and ``minutes``: how much; ``first``: number of the first trial, to replay one; ``folder``: its own, kept when something fails."""

    stage: str
    folder: Path
    seed: int
    trials: int = 0
    minutes: float = 0.0
    first: int = 0
    only: str = ""
    long: bool = False
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print how far it is."""
        sys.stdout.write(f"[{time.monotonic() - self.began:5.0f} s] {self.stage}: {text}\n")
        sys.stdout.flush()
