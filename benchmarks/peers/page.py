"""The result as lines of a terminal, as tables in Markdown, and its place in the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by make bench-peers ARGS=--save -->", "<!-- end of results -->"
STARVED = 0.3
"""Share of the window that one of its threads waited for a core; from here on what arrived says little about the program."""
_WHAT = {"outage": "broker away for {:g} s", "kill": "broker away for {:g} s, kill -9 half-way, started again 2 s later"}


def _of(figure: dict[str, float] | None, digits: int = 1, scale: float = 1.0, *, spread: bool = False) -> str:
    if figure is None:
        return "-"
    middle = f"{figure['median'] * scale:,.{digits}f}"
    if not spread or figure["min"] == figure["max"]:
        return middle
    return f"{middle} ({figure['min'] * scale:,.{digits}f} to {figure['max'] * scale:,.{digits}f})"


def _delivered(one: dict[str, Any]) -> str:
    """Return how much of what the source made arrived in the window."""
    if not one["rate"] or not one["produced"] or not one["produced"]["median"]:
        return "-"
    disturbed = " (others had the cores)" if one["starved"] and one["starved"]["median"] >= STARVED else ""
    return f"{min(100.0, one['rate']['median'] / one['produced']['median'] * 100):.0f} %{disturbed}"


def steady_line(one: dict[str, Any]) -> str:
    """Return one line for a terminal."""
    return (
        f"{one['line']:<3} {one['name']:<22} {_of(one['us'], 1):>7} us/sample {_of(one['rate'], 0):>7}/s of it {_delivered(one):>5}  core {_of(one['core'], 1, 100):>5} % "
        f" rss {_of(one['rss'], 0):>4} MB  p50 {_of(one['p50'], 0)} p99 {_of(one['p99'], 0)} ms  lost {one['lost']} doubled {one['doubled']} invented {one['invented']}"
    )


def outage_line(one: dict[str, Any]) -> str:
    """Return one line for a terminal."""
    return (
        f"{one['what']:<7} {one['name']:<22} of {one['expected']:,} samples lost {one['lost']:,} doubled {one['doubled']:,} invented {one['invented']}; "
        f"declared: {one['declared']}; new samples after {_seconds(one['again_after'])}; took none for {_seconds(one['blind'])}"
    )


def tables(result: dict[str, Any]) -> str:
    """Return everything measured, in Markdown."""
    rows = [
        "| workload | | CPU us a sample (least to most) | x edge-agent | delivered/s | of what was made | of a core | RSS MB | p50 / p99 ms | lost | doubled |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ours = {one["line"]: one["us"]["median"] for one in result["lines"] if one["peer"] == "edge-agent" and one["us"]}
    for one in result["lines"]:
        ratio = f"{one['us']['median'] / ours[one['line']]:.1f}" if one["us"] and one["line"] in ours else "-"
        rows.append(
            f"| {one['title']} | {one['name']} | {_of(one['us'], 1, spread=True)} | {ratio} | {_of(one['rate'], 0)} | {_delivered(one)} "
            f"| {_of(one['core'], 1, 100)} % | {_of(one['rss'], 0)} | {_of(one['p50'], 0)} / {_of(one['p99'], 0)} "
            f"| {_part(one['lost'], one['samples'])} | {_part(one['doubled'], one['samples'])} |"
        )
    if result["outages"]:
        rows += [
            "",
            "| OPC UA subscription, 1,000 tags x 1/s | | keeps samples in | samples | lost | doubled | declared | back after s | took no samples for s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
    rows += [
        f"| {_WHAT[one['what']].format(one['seconds'])} | {one['name']} | {one['storage']} | {one['expected']:,} | {_part(one['lost'], one['expected'])} "
        f"| {_part(one['doubled'], one['expected'])} | {_told(one)} | {_seconds(one['again_after'])} | {_seconds(one['blind'])} |"
        for one in result["outages"]
    ]
    return "\n".join(rows)


def _told(one: dict[str, Any]) -> str:
    if one["declared"]:
        return str(one["declared"]).replace("|", "/")[:160]
    return "nothing" if one["lost"] or one["what"] == "kill" else "-"


def _part(many: int, of: int) -> str:
    return "0" if not many else f"{many:,} ({many / max(1, of) * 100:.1f} %)"


def _seconds(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"


def _sessions(result: dict[str, Any]) -> str:
    """Say which lines were measured in which session, where there was more than one: only within a line all programs ran in turn."""
    sessions: dict[str, list[str]] = {}
    for one in (*result["lines"], *result["outages"]):
        if one.get("date"):
            what = sessions.setdefault(one["date"], [])
            what += [name for name in [one.get("title", "outages")] if name not in what]
    if len(sessions) < 2:
        return ""
    return "Measured in " + "; ".join(f"{date}: {', '.join(what)}" for date, what in sorted(sessions.items())) + "."


def into_readme(readme: Path, result: dict[str, Any]) -> None:
    """Put the tables between the marks."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    where = result["machine"]
    names = {one["peer"]: one["name"] for one in (*result["lines"], *result["outages"])}
    peers = "; ".join(f"{names.get(key, key)} {number}" for key, number in result["versions"].items())
    slow = [one["calibration"][end] / where["reference"] for one in result["lines"] for end in ("min", "max")] or [1.0]
    runs = sorted({one["runs"] for one in result["lines"]})
    head = (
        f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, {where['date']}. Python {where['python']}, "
        + ", ".join(f"{name} {number}" for name, number in result["tools"].items())
        + f". {peers}. Runs of each line: {' or '.join(map(str, runs))}; the core was {min(slow):.2f} to {max(slow):.2f} times as slow as the reference."
    )
    measured = _sessions(result)
    missing = [*([measured] if measured else []), *(f"Not run: {key}: {reason}" for key, reason in result["missing"].items())]
    readme.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join([head, *missing, tables(result)]) + f"\n\n{END}{after}")
