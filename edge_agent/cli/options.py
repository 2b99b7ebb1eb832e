"""Options that several commands have."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

DEFAULT_CONFIG = Path("/etc/edge-agent")

Config = Annotated[
    Path, typer.Option("--config", "-c", help="Folder with agent.yaml, devices/ and units/; or one file with everything.")
]
MaybeConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Folder or file of the configuration.  [default: {DEFAULT_CONFIG}]")
]
Store = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of a buffer (the one with buffer.db), also of another gateway; no configuration needed."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Level = Annotated[Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="Least level to log.")]
Style = Annotated[Literal["auto", "text", "json", "journald"], typer.Option("--log-format", help="How a log line looks.")]


def until_interrupted(verb: Callable[[], int]) -> int:
    """Return the exit code of what a person ends by Ctrl-C, or by closing the pipe it writes into."""
    try:
        return verb()
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains when it flushes at its end
        return 0
