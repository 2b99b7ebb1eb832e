"""``python -m benchmarks.peers.run [--quick] [--only KEYS] [--lines KEYS] [--runs 3] [--window 8] [--outage 30] [--save]``: peers side by side.

Every peer does the same job with the same source, broker and subscriber, in turn, so that what disturbs the machine falls on all alike. Exit code
1 when edge-agent lost or invented a sample, 77 when a peer could not be installed and all else went well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import machine
from benchmarks.calibrate import calibrate
from benchmarks.peers.job import HOME, NotInstalledError, Peer
from benchmarks.peers.measured import outage, steady
from benchmarks.peers.page import STARVED, into_readme, outage_line, steady_line, tables
from benchmarks.peers.peers import PEERS
from benchmarks.workload import Load, modbus, opcua

HERE = Path(__file__).resolve().parent
LINES: dict[str, tuple[str, Load]] = {
    "a1": ("OPC UA subscription, 1,000 tags x 10/s", opcua(1000, 10)),
    "a0": ("OPC UA subscription, 1,000 tags x 1/s", opcua(1000, 1)),
    "c1": ("Modbus, 1,000 registers x 1/s", modbus(1000, 1)),
}
OUTAGES = {"outage": False, "kill": True}
QUICK = ("a1", "c1")
NOT_RUN = 77
_TRIES = 3


def installed(chosen: list[Peer]) -> tuple[dict[str, str], dict[str, str]]:
    """Install what is missing; return versions of those that are here, and why others are not."""
    versions, reasons = {}, {}
    for peer in chosen:
        try:
            versions[peer.key] = peer.install(HOME)
        except NotInstalledError as error:
            reasons[peer.key] = str(error)
            print(f"{peer.title} NOT RUN: {error}", flush=True)
    return versions, reasons


def under_load(peers: list[Peer], lines: list[str], runs: int, settle: float, window: float) -> list[dict[str, Any]]:
    """Measure every peer on every line ``runs`` times, in turn; return one summary for each pair."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for number in range(runs):
        for line in lines:
            for peer in peers:
                one = _undisturbed(peer, line, settle, window)
                if one is not None:
                    found.setdefault((line, peer.key), []).append(one)
                    print(f"  run {number + 1}/{runs} {steady_line(summary(line, peer, [one]))}", flush=True)
    return [summary(line, peer, found[line, peer.key]) for line in lines for peer in peers if (line, peer.key) in found]


def _undisturbed(peer: Peer, line: str, settle: float, window: float) -> dict[str, Any] | None:
    """Measure once; again when others had the cores meanwhile, of which the least disturbed run counts. None: it did not run."""
    tried: list[dict[str, Any]] = []
    for _ in range(_TRIES):
        before = calibrate()
        try:
            one = steady(peer, LINES[line][1], settle=settle, window=window)
        except RuntimeError as error:
            print(f"{line} {peer.title}: {error}", file=sys.stderr, flush=True)
            continue
        tried.append(one | {"calibration": (before + calibrate()) / 2})
        if one["starved"] < STARVED:
            break
    return min(tried, key=lambda one: one["starved"], default=None)


def summary(line: str, peer: Peer, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians with least and most of every figure; what was lost, doubled or invented is added up, as is what it is a part of."""
    out: dict[str, Any] = {"line": line, "title": LINES[line][0], "peer": peer.key, "name": peer.title, "runs": len(runs)}
    summed = ("lost", "doubled", "invented", "samples")
    for name in (key for key, value in runs[0].items() if key not in summed and (value is None or isinstance(value, int | float))):
        values = [run[name] for run in runs if run[name] is not None]
        out[name] = {"median": median(values), "min": min(values), "max": max(values)} if values else None
    out |= {name: sum(run[name] for run in runs) for name in summed}
    out["examples"] = [example for run in runs for example in run["examples"]][:5]
    return out


def through_outages(peers: list[Peer], which: list[str], settle: float, seconds: float) -> list[dict[str, Any]]:
    """Take the broker away from every peer, and then once more with a kill half-way."""
    out = []
    for key in which:
        for peer in peers:
            try:
                one = outage(peer, LINES["a0"][1], settle=settle, seconds=seconds, killed=OUTAGES[key])
            except RuntimeError as error:
                print(f"{key} {peer.title}: {error}", file=sys.stderr, flush=True)
                continue
            one |= {"what": key, "seconds": seconds, "peer": peer.key, "name": peer.title, "storage": peer.storage}
            out.append(one)
            print(f"  {outage_line(one)}", flush=True)
    return out


def tools() -> dict[str, str]:
    """Return versions of the run times that peers were built with."""
    out = {}
    for name, command in (("Node.js", ["node", "--version"]), ("Go", ["go", "version"]), ("mosquitto", ["mosquitto", "-h"])):
        path = shutil.which(command[0], path=os.environ.get("PATH", "") + ":/usr/sbin")
        if path is not None:
            said = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False).stdout.split()
            out[name] = next((word for word in said if word[-1:].isdigit()), "?").removeprefix("go").removeprefix("v")
    return out


def main(argv: list[str]) -> int:
    """Measure what was asked for and print it."""
    told = _options().parse_args(argv)
    began = time.monotonic()
    chosen = [peer for peer in PEERS.values() if not told.only or peer.key in told.only.split(",")]
    lines = [line for line in LINES if line in (told.lines.split(",") if told.lines else QUICK if told.quick else LINES)]
    which = ["kill"] if told.quick else list(OUTAGES)
    settle, window, runs = (1.5, 3.0, 1) if told.quick else (3.0, told.window, told.runs)
    seconds = min(told.outage, 8.0) if told.quick else told.outage
    versions, missing = installed(chosen)
    peers = [peer for peer in chosen if peer.key in versions]
    result: dict[str, Any] = {"machine": machine(), "versions": versions, "tools": tools(), "missing": missing}
    result["lines"] = under_load(peers, lines, runs, settle, window)
    result["outages"] = through_outages(peers, which, settle, seconds) if seconds else []
    for one in (*result["lines"], *result["outages"]):
        one["date"] = result["machine"]["date"]
    print(f"\n{tables(result)}\n{time.monotonic() - began:.0f} s")
    for key, reason in missing.items():
        print(f"{PEERS[key].title} NOT RUN: {reason}")
    if told.save:
        _save(result)
    if told.json:
        told.json.write_text(json.dumps(result, indent=1) + "\n")
    ours = [one for one in (*result["lines"], *result["outages"]) if one["peer"] == "edge-agent"]
    if any(one["lost"] or one["invented"] for one in ours):
        return 1
    return NOT_RUN if missing else 0


def _save(result: dict[str, Any]) -> None:
    """Put it into the page; lines and outages that were not measured now stay as they were."""
    place = HERE / "results.json"
    kept = json.loads(place.read_text()) if place.exists() else {}
    lines = {(one["line"], one["peer"]): one for one in (*kept.get("lines", ()), *result["lines"])}
    outages = {(one["what"], one["peer"]): one for one in (*kept.get("outages", ()), *result["outages"])}
    merged = kept | result
    merged["versions"] = kept.get("versions", {}) | result["versions"]
    merged["lines"] = [lines[line, peer] for line in LINES for peer in PEERS if (line, peer) in lines]
    merged["outages"] = [outages[what, peer] for what in OUTAGES for peer in PEERS if (what, peer) in outages]
    place.write_text(json.dumps(merged, indent=1) + "\n")
    into_readme(HERE / "README.md", merged)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="make bench-peers ARGS=...", description=__doc__)
    options.add_argument("--quick", action="store_true", help="two lines, one short run of each, and a short outage: five minutes")
    options.add_argument("--only", default="", help=f"some of {','.join(PEERS)}")
    options.add_argument("--lines", default="", help=f"some of {','.join(LINES)}")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--window", type=float, default=8.0, help="seconds that are measured")
    options.add_argument("--outage", type=float, default=30.0, help="seconds without a broker; 0: none")
    options.add_argument("--save", action="store_true", help="put the result into benchmarks/peers/results.json and README.md")
    options.add_argument("--json", type=Path, help="write the result to this file too")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
