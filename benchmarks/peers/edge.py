"""edge-agent itself, with its defaults: every commit synced to disk, QoS 1, qualities, numbered records."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from benchmarks.peers.job import Command, Job, Peer, Sample
from benchmarks.workload import Workload
from edge_agent import __version__


def install(_: Path) -> str:
    """It is here."""
    return __version__


def write(job: Job, _: Path) -> Command:
    """Write its configuration as `make bench` does."""
    work = Workload("peer", "as its peers do it", (job.load,))
    config = work.write(job.folder, job.broker, [{"port": job.source}])
    return Command([sys.executable, "-m", "edge_agent", "run", "-c", str(config), "--log-level", "warning"])


def parse(topic: str, payload: bytes) -> list[Sample]:
    """Take the columns of a telemetry message apart; samples of bad quality are none."""
    if not topic.endswith("/_telemetry"):
        return []
    data = json.loads(payload)["data"]
    if "columns" not in data:
        return []
    names = [one["tag"].rpartition(".")[2] for one in data["tags"]]
    first = datetime.fromisoformat(data["t0"])
    start = int(first.timestamp()) * 1_000_000 + first.microsecond
    rows = data["columns"]
    columns = zip(rows["tag"], rows["value"], rows["dt_us"], rows["q"], strict=True)
    return [(names[tag], value, start + later) for tag, value, later, bad in columns if not bad and value is not None]


def declared(_: str) -> str | None:
    """It declares gaps to whoever subscribes, as events: these are counted where they arrive."""
    return None


PEER = Peer("edge-agent", "edge-agent", "SQLite, synced", install, write, parse, declared)
