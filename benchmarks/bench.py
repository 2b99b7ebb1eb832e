"""``python -m benchmarks.bench [--quick] [--only a1,c2] [--runs 5] [--window 10] [--profile] [--save]``: what an agent's samples cost.

Sources, broker, subscriber and agent are processes of their own on this machine; the figures are those of the agent alone. A line is the
median of the runs with least and most, each run between two calibrations. Exit code 1 when a sample of a line or of the drain was lost, doubled or invented, or a line could not be
measured; never for being slow: the table says that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.calibrate import REFERENCE, calibrate, slowness
from benchmarks.charts import charts
from benchmarks.drain import drain
from benchmarks.measure import steady
from benchmarks.table import into_readme, line, profile_lines, table
from benchmarks.workload import IDLE, WORKLOADS, Workload, opcua

HERE = Path(__file__).resolve().parent
QUICK = ("a1", "a1s", "c2", "d")
_SHORTEST, _FEWEST = 0.5, 1_000
_LAG = 400.0
"""Milliseconds of p99 from which on a rate is not sustained."""
_STARVED = 0.3
"""Share of the time for which others had the cores that the agent wanted; from here on a rate that was missed says nothing about the agent."""


def runs_of(works: list[Workload], runs: int, settle: float, window: float) -> list[dict[str, Any]]:
    """Measure all workloads ``runs`` times, in turn, so that what disturbs the machine falls on all alike; one summary for each."""
    found: dict[str, list[dict[str, Any]]] = {work.key: [] for work in works}
    for number in range(runs):
        for work in works:
            before = calibrate()
            try:
                one = steady(work, settle=settle, window=window)
            except RuntimeError as error:
                print(f"{work.key}: {error}", file=sys.stderr, flush=True)
                continue
            one["calibration"] = (before + calibrate()) / 2
            found[work.key].append(one)
            print(f"  run {number + 1}/{runs} {line(summary(work, [one]))}", flush=True)
    return [summary(work, found[work.key]) for work in works if found[work.key]]


def summary(work: Workload, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians with least and most of every figure; what was wrong is added up."""
    out: dict[str, Any] = {"key": work.key, "title": work.title, "per": work.per, "runs": len(runs)}
    for name in (key for key, value in runs[0].items() if value is None or isinstance(value, int | float)):
        values = [run[name] for run in runs if run[name] is not None]
        out[name] = {"median": median(values), "min": min(values), "max": max(values)} if values else None
    out["wrong"] = sum(sum(run["wrong"].values()) for run in runs)
    out["examples"] = [example for run in runs for example in run["examples"]][:5]
    factor = slowness(out["calibration"]["median"])
    out["slowness"] = factor
    out["target"] = work.target
    if work.target is not None and out["us"]:
        out["verdict"] = out["us"]["median"] / (work.target * factor)
    return out


def most(secure: bool, settle: float, window: float, rates: list[int]) -> dict[str, Any]:
    """Step the rate up until the lag grows; the last rate that held is what the agent sustains."""
    steps: list[dict[str, Any]] = []
    for tags in rates:
        work = Workload(f"max{tags}", f"{tags * 10:,}/s", (opcua(tags, 10, secure=secure),))
        for _ in range(3):
            step = _step(work, settle, window)
            print(f"  {'secured ' if secure else ''}{tags * 10:,}/s: {step}", flush=True)
            if step["held"] or step.get("starved", 0.0) < _STARVED:
                break
        steps.append(step)
        if not step["held"]:
            break
    return {"secure": secure, "steps": steps, "held": max((step["wanted"] for step in steps if step["held"]), default=0)}


def _step(work: Workload, settle: float, window: float) -> dict[str, Any]:
    """Measure one rate, and say whether it was sustained."""
    wanted = round(work.per_second)
    try:
        one = steady(work, settle=settle, window=window)
    except RuntimeError as error:
        return {"wanted": wanted, "held": False, "error": str(error)[:200]}
    held = one["rate"] > 0.97 * one["expected"] and (one["p99"] or 1e9) < _LAG and one["backlog"] <= 5 and not one["wrong"]
    return {"wanted": wanted, "held": held} | {name: one[name] for name in ("rate", "us", "core", "p50", "p99", "rss", "starved")}


def slopes(settle: float, window: float, runs: int) -> dict[str, Any]:
    """Measure cost against tags at 10/s and against the rate of 1,000 tags; fit a line to each."""
    out = {}
    for name, works in (
        ("tags", [(tags, Workload(f"i{tags}", f"{tags} x 10/s", (opcua(tags, 10),))) for tags in (250, 500, 1000, 2000, 4000)]),
        ("rate", [(rate, Workload(f"i{rate}", f"1,000 x {rate}/s", (opcua(1000, rate),))) for rate in (1, 2, 5, 10, 20)]),
    ):
        points = []
        for _ in range(runs):
            for _, work in works:
                one = steady(work, settle=settle, window=window)
                points.append((one["rate"], one["core"] * 100))
        out[name] = {"points": points, **fit(points)}
        print(f"  cost against {name}: {out[name]['us']:.2f} us a sample, {out[name]['base']:.2f} % of a core at rest", flush=True)
    return out


def fit(points: list[tuple[float, float]]) -> dict[str, float]:
    """Return the line of least squares through (samples a second, percent of a core): us a sample, percent at rest, R squared."""
    many = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / many, sum(y for _, y in points) / many
    square = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0
    base = mean_y - slope * mean_x
    spread = sum((y - mean_y) ** 2 for _, y in points)
    off = sum((y - base - slope * x) ** 2 for x, y in points)
    return {"us": slope * 1e4, "base": base, "r2": 1 - off / spread if spread else 1.0}


def against(other: Path, works: list[Workload], runs: int, settle: float, window: float) -> int:
    """Measure another version of the agent and this one in turn, and print how much this one needs of what the other does; returns how much was wrong."""
    mistakes = 0
    for work in works:
        ratios, each = [], []
        for _ in range(runs):
            theirs = steady(work, settle=settle, window=window, root=other)
            ours = steady(work, settle=settle, window=window)
            ratios.append(ours["us"] / theirs["us"])
            each.append((theirs, ours))
        old, new = (median(pair[place]["us"] for pair in each) for place in (0, 1))
        grown = median(ours["rss"] - theirs["rss"] for theirs, ours in each)
        shown = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
        wrong = [one["wrong"] for pair in each for one in pair if one["wrong"]]
        print(
            f"{work.key}: {old:.2f} -> {new:.2f} us/{work.per}, x {median(ratios):.3f} (runs: {shown}), RSS {grown:+.1f} MB {wrong or ''}",
            flush=True,
        )
        mistakes += sum(sum(one.values()) for one in wrong)
    return mistakes


def profiles(works: list[Workload], settle: float, window: float) -> dict[str, Any]:
    """Return for each workload where the agent's time goes."""
    out = {}
    for work in works:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "profile.json"
            steady(work, settle=settle, window=window, profile=place)
            out[work.key] = json.loads(place.read_text())
        print("\n".join(profile_lines(work.key, out[work.key])), flush=True)
    return out


def machine() -> dict[str, Any]:
    """Return what the figures belong to."""
    model = next(
        (row.partition(":")[2].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name")),
        platform.machine(),
    )
    names = ("asyncua", "pymodbus", "paho-mqtt", "msgspec", "apsw", "uvloop")
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"), "cpu": model, "cores": os.cpu_count(),
        "kernel": platform.release(), "python": platform.python_version(), "versions": {name: version(name) for name in names},
        "calibration": calibrate(), "reference": REFERENCE,
    }  # fmt: skip


def main(argv: list[str]) -> int:
    """Measure what was asked for and print it; 1 when a value was wrong."""
    told = _told(argv)
    began = time.monotonic()
    chosen = [work for work in (*WORKLOADS, *IDLE) if not told.only or work.key in told.only.split(",")]
    if told.quick and not told.only:
        chosen = [work for work in chosen if work.key in QUICK]
    settle, window, runs = (0.5, 2.0, 1) if told.quick else (2.0, told.window, told.runs)
    result: dict[str, Any] = {"machine": machine()}
    print(
        f"calibration {result['machine']['calibration']:.4f} s (reference {REFERENCE} s): targets are stretched by it", flush=True
    )
    if told.against:
        return int(against(told.against.resolve(), chosen, runs, settle, window) > 0)
    if told.profile:
        result["profiles"] = profiles(chosen, settle, window)
    else:
        result["lines"] = runs_of(chosen, runs, settle, window)
        _more(told, result, settle, window)
        print(f"\n{table(result)}\n{time.monotonic() - began:.0f} s")
    if told.save:
        _save(result)
    wrong = sum(one["wrong"] for one in result.get("lines", ())) + sum(result.get("drain", {}).get("wrong", {}).values())
    missing = {work.key for work in chosen} - {one["key"] for one in result.get("lines", ())} if not told.profile else set()
    if missing:
        print(f"not one run of these came to an end: {', '.join(sorted(missing))}", file=sys.stderr)
    return 1 if wrong or missing else 0


def _told(argv: list[str]) -> argparse.Namespace:
    """Return the options; ends with 2 where they would measure nothing."""
    options = _options()
    told = options.parse_args(argv)
    known = [work.key for work in (*WORKLOADS, *IDLE)] + ["f", "max", "i"]
    if unknown := [key for key in told.only.split(",") if told.only and key not in known]:
        options.error(f"--only: there is no line {', '.join(unknown)}; there are {', '.join(known)}")
    if told.runs < 1 or told.window < _SHORTEST or told.events < _FEWEST:
        options.error(f"at least one run, {_SHORTEST:g} s and {_FEWEST:,} events are needed to measure anything")
    if told.against is not None and not (told.against / "edge_agent" / "__init__.py").exists():
        options.error(f"--against {told.against}: there is no checkout of edge-agent")
    return told


def _more(told: argparse.Namespace, result: dict[str, Any], settle: float, window: float) -> None:
    """Measure what is no steady load: a drain, the most that is sustained, the slopes."""
    if told.quick or not told.only or "f" in told.only.split(","):
        result["drain"] = drain(5_000 if told.quick else told.events)
    if not told.quick and (not told.only or "max" in told.only.split(",")):
        result["most"] = [
            most(False, settle, min(window, 5.0), [5_000, 7_500, 10_000, 12_500, 15_000, 20_000]),
            most(True, settle, min(window, 5.0), [2_000, 3_000, 4_000, 5_000, 7_500, 10_000]),
        ]
    if not told.quick and (not told.only or "i" in told.only.split(",")):
        result["slopes"] = slopes(settle, min(window, 5.0), max(1, told.runs // 2))


def _save(result: dict[str, Any]) -> None:
    place = HERE / "results.json"
    kept = json.loads(place.read_text()) if place.exists() else {}
    lines = {one["key"]: one for one in (*kept.get("lines", ()), *result.get("lines", ()))}
    merged = kept | result
    merged["lines"] = [lines[work.key] for work in (*WORKLOADS, *IDLE) if work.key in lines]
    merged["profiles"] = kept.get("profiles", {}) | result.get("profiles", {})
    place.write_text(json.dumps(merged, indent=1) + "\n")
    charts(merged, HERE / "charts")
    into_readme(HERE / "README.md", merged)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    options.add_argument("--quick", action="store_true", help="some lines, one short run each: less than a minute")
    options.add_argument("--only", default="", help="keys of lines, and: f (drain), max (most that is sustained), i (slopes)")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--window", type=float, default=10.0, help="seconds that are measured")
    options.add_argument("--events", type=int, default=1_000_000, help="events of the drain")
    options.add_argument("--profile", action="store_true", help="instead: where the time of each line goes")
    options.add_argument("--against", type=Path, help="instead: measure the agent of another checkout and this one in turn")
    options.add_argument("--save", action="store_true", help="put the result into benchmarks/results.json, README.md and charts/")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
