"""``edge-agent run``: the service."""

from __future__ import annotations

import gc
import signal
from pathlib import Path

import structlog

from edge_agent import logs
from edge_agent.agent.clock import plant_clock
from edge_agent.agent.serve import serve
from edge_agent.buffer import failpoint
from edge_agent.config.load import load
from edge_agent.status.otelconfig import require_extra


def run(directory: Path, level: str, style: str) -> None:
    """Load, then serve until a signal. Raises ConfigError for a wrong configuration."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever wants the files read again gets that: they are read now
    config = load(directory)
    if config.agent.otel is not None:
        require_extra()
    logs.configure(level, None if style == "auto" else style)  # type: ignore[arg-type]  # typer checked the word
    failpoint.install()
    for caution in config.cautions:
        structlog.get_logger().warning("config.caution", text=caution)
    clock = plant_clock()
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process: no collection need look at it again
    serve(config, clock, source=directory)
