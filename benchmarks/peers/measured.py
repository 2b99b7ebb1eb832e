"""One run of one peer: under steady load, or through an outage of the broker."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.job import Peer
from benchmarks.peers.stand import Stand, stand
from benchmarks.workload import Load

_LATE = 4.0
"""Seconds without a late sample after which none is expected, under steady load."""
_CATCH_UP, _CALM = 90.0, 12.0
"""Seconds after an outage within which everything must have come, and without a late sample from which on none is expected."""


def steady(peer: Peer, load: Load, *, settle: float, window: float) -> dict[str, Any]:
    """Measure a peer for ``window`` seconds. Lost and doubled are counted among the samples that it told of in the window."""
    with tempfile.TemporaryDirectory(prefix="edge-peers-") as folder, stand(peer, load, Path(folder)) as here:
        here.settle(settle)
        before = _look(here)
        time.sleep(window)
        after = _look(here)
        rss = here.running.rss
        missing = _absent(here, before["top"] + 1, after["top"])
        end = here.hearing.ask()
    samples = after["received"] - before["received"]
    seconds = after["at"] - before["at"]
    produced = after["produced"] - before["produced"]
    return {
        "us": (after["cpu"] - before["cpu"]) / samples * 1e6 if samples else None, "core": (after["cpu"] - before["cpu"]) / seconds,
        "starved": max(after["waits"][task] - before["waits"].get(task, 0) for task in after["waits"]) / 1e9 / seconds, "rate": samples / seconds, "expected": load.per_second,
        "produced": produced / seconds, "samples": samples, "rss": rss / 1e6, "p50": after["p50"], "p99": after["p99"],
        "lost": sum(many for _, many in missing), "doubled": end["doubled"] - before["doubled"], "invented": end["invented"],
        "backlog": after["waiting"] - before["waiting"], "examples": end["examples"],
    }  # fmt: skip


def _absent(here: Stand, first: int, last: int) -> list[tuple[int, int]]:
    """Return which running numbers are missing, when none of them has come for some seconds."""
    found, began = here.hearing.missing(first, last), time.monotonic()
    while found and time.monotonic() - began < _LATE:
        time.sleep(0.5)
        now = here.hearing.missing(first, last)
        if now != found:
            found, began = now, time.monotonic()
    return found


def _look(here: Stand) -> dict[str, Any]:
    asked, figures = here.source.ask(), here.hearing.ask()
    return figures | {
        "cpu": here.running.cpu, "waits": here.running.waits, "at": time.monotonic(),
        "produced": asked["produced"], "waiting": asked["waiting"],
    }  # fmt: skip


def outage(peer: Peer, load: Load, *, settle: float, seconds: float, killed: bool) -> dict[str, Any]:
    """Take the broker away for ``seconds``; count what was lost and doubled of all that the source gave from before it until after it."""
    with tempfile.TemporaryDirectory(prefix="edge-peers-") as folder, stand(peer, load, Path(folder), relayed=True) as here:
        here.settle(settle)
        before = here.hearing.ask()
        here.outage(seconds, killed=killed)
        back = time.monotonic()
        again = _caught_up(here, before)
        after = here.hearing.ask()
        missing = here.hearing.missing(before["top"] + 1, after["top"] - 1)
        said = peer.declared(here.said())
    expected, gaps, lost = (after["top"] - 1 - before["top"]) * load.tags, after["gaps"], sum(many for _, many in missing)
    told = f"{len(gaps)} event{'s' * (len(gaps) > 1)} of type collection.gap" if gaps else said
    return {
        "expected": expected, "lost": lost, "doubled": after["doubled"] - before["doubled"], "invented": after["invented"],
        "declared": told, "gaps": gaps[:5], "missing": missing[:100], "again_after": again, "blind": here.blind,
        "caught_up": time.monotonic() - back, "examples": after["examples"], "events": after["events"],
    }  # fmt: skip


def _caught_up(here: Stand, before: dict[str, Any]) -> float | None:
    """Wait until everything has come that is going to: samples of now arrive, and of those missing none has come for some seconds.

    Returns seconds from the broker's return to the first sample (None: none came).
    """
    began = changed = time.monotonic()
    first, absent = None, -1
    while time.monotonic() - began < _CATCH_UP and time.monotonic() - changed < _CALM:
        time.sleep(0.5)
        here.watch()
        now = here.hearing.ask()
        if now["received"] == before["received"]:
            changed = time.monotonic()
            continue
        first = time.monotonic() - began if first is None else first
        many = (
            sum(many for _, many in here.hearing.missing(before["top"] + 1, now["top"] - 1))
            if now["top"] > before["top"] + 1
            else -1
        )
        if many != absent:
            absent, changed = many, time.monotonic()
    return first
