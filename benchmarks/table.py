"""Results as a table in Markdown, as lines of a terminal, and their place in the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by make bench ARGS=--save -->", "<!-- end of results -->"


def _of(figure: dict[str, float] | None, digits: int = 1, scale: float = 1.0, *, spread: bool = False) -> str:
    if figure is None:
        return "-"
    middle = f"{figure['median'] * scale:,.{digits}f}"
    if not spread or figure["min"] == figure["max"]:
        return middle
    return f"{middle} ({figure['min'] * scale:,.{digits}f} to {figure['max'] * scale:,.{digits}f})"


def verdict(one: dict[str, Any]) -> str:
    """Return the target on the reference machine, what it is on this one, and whether it is met."""
    if one.get("verdict") is None:
        return ""
    there = one["target"] * one["slowness"]
    ratio = one["verdict"]
    said = "met" if ratio <= 1 else f"missed, x {ratio:.2f}"
    return f"{one['target']:g} ({there:.1f} here): {said}"


def line(one: dict[str, Any]) -> str:
    """Return one line for a terminal."""
    starved = one.get("starved")
    busy = f"  others had the cores for {_of(starved, 0, 100)} % of it" if starved and starved["median"] > 0.3 else ""
    wrong = f"  WRONG VALUES: {one['wrong']} {one['examples'][:2]}" if one["wrong"] else ""
    return (
        f"{one['key']:<4} {one['title']:<48} {_of(one['us'], 2):>7} us/{one['per']:<6} {_of(one['rate'], 0):>8}/s "
        f"core {_of(one['core'], 1, 100):>5} %  rss {_of(one['rss'], 0):>4} MB  p50 {_of(one['p50'], 0)} p99 {_of(one['p99'], 0)} ms{busy}{wrong}"
    )


def table(result: dict[str, Any]) -> str:
    """Return everything measured, in Markdown."""
    rows = [
        "| | workload | samples/s | CPU us each (least to most) | of a core | RSS MB | p50 / p99 ms | start s | wrong | target us |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {one['key']} | {one['title']} | {_of(one['rate'], 0)} | {_of(one['us'], 2, spread=True)} a {one['per']} "
        f"| {_of(one['core'], 1, 100)} % | {_of(one['rss'], 0)} | {_of(one['p50'], 0)} / {_of(one['p99'], 0)} "
        f"| {_of(one['start'], 1)} | {one['wrong']} | {verdict(one)} |"
        for one in result.get("lines", ())
    ]
    rows += ["", *_others(result)]
    return "\n".join(rows)


def _others(result: dict[str, Any]) -> list[str]:
    out = []
    lines = {one["key"]: one for one in result.get("lines", ())}
    if "d" in lines and "d0" in lines and lines["d"]["events"]["median"]:
        more = lines["d"]["core"]["median"] - lines["d0"]["core"]["median"]
        each = more / lines["d"]["events"]["median"] * 1e6
        out.append(f"* d: {each:.0f} us a produced event above its samples ({_of(lines['d']['events'], 0)} events/s); target 60")
    for key, target in (("h", "; target 15 / 60"), ("d", "")):
        if key in lines and lines[key].get("event_p50"):
            p50, p99 = (_of(lines[key][f"event_{name}"], 0, spread=True) for name in ("p50", "p99"))
            out.append(f"* {key}: a produced event, from its source time to the subscriber: p50 {p50} ms, p99 {p99} ms{target}")
    if drained := result.get("drain"):
        out.append(
            f"* f: {drained['events']:,} events drained at {drained['rate']:,.0f}/s, {drained['us']:.0f} us of CPU each, "
            f"the agent grew by {drained['grown']:.1f} MB, {sum(drained['wrong'].values())} wrong; target 4,000/s, 30 MB"
        )
    for steps in result.get("most", ()):
        said = "secured" if steps["secure"] else "without security"
        wanted = 30_000 if steps["secure"] else 100_000
        out.append(f"* most that was sustained by subscription, {said}: {steps['held']:,} samples/s; target {wanted:,}")
    for name, slope in result.get("slopes", {}).items():
        out.append(
            f"* i: against {name}: {slope['us']:.2f} us a sample and {slope['base']:.2f} % of a core at rest, R2 = {slope['r2']:.4f}"
        )
    return out


def profile_lines(key: str, profile: dict[str, Any], most: int = 12) -> list[str]:
    """Return where the time of a workload goes, for a terminal and the README."""
    rows = [f"{key}: {profile['main']:.0%} of the CPU in the main thread (the rest: the store's thread)"]
    rows += [f"  {share:6.1%}  {name}" for name, share in list(profile["own"].items())[:most]]
    return rows


def how_long(result: dict[str, Any]) -> str:
    """Return how many runs of how many seconds stand behind the lines, and how much the core's speed moved meanwhile."""
    lines = result.get("lines", ())
    if not lines:
        return ""
    runs, seconds = sorted({one["runs"] for one in lines}), sorted({round(one["seconds"]["median"]) for one in lines})
    slow = [one["calibration"][end] / result["machine"]["reference"] for one in lines for end in ("min", "max")]
    text = f"Runs of each line: {' or '.join(map(str, runs))}, of {' or '.join(map(str, seconds))} s; "
    return text + f"meanwhile the core was {min(slow):.2f} to {max(slow):.2f} times as slow as the reference."


def into_readme(readme: Path, result: dict[str, Any]) -> None:
    """Put table, charts and profiles between the marks."""
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    where = result["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    head = (
        f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, Python {where['python']}; {packages}; {where['date']}. "
        f"Calibration loop {where['calibration']:.4f} s (reference {where['reference']} s). {how_long(result)}"
    )
    parts = [
        head, "", table(result), "", "![cost of a sample](charts/cost.svg)", "![memory](charts/memory.svg)",
    ]  # fmt: skip
    if "slopes" in result:
        parts.append("![cost against the rate](charts/slope.svg)")
    for key, profile in result.get("profiles", {}).items():
        parts += ["", "```", *profile_lines(key, profile), "```"]
    readme.write_text(f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n\n{END}{after}")
