"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
