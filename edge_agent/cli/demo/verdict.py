"""Truth and received side by side."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table


def print_verdict(report: dict[str, Any]) -> None:
    """Print the comparison as a table and the verdict in one line."""
    console = Console(width=None if Console().is_terminal else 132)
    table = Table(
        title=f"scenario {report['scenario']}, speed {report['speed']:g}{', with faults' if report['faults'] else ''}",
        title_justify="left",
    )
    for heading in ("", "truth", "received", ""):
        table.add_column(heading)
    for row in report["rows"]:
        table.add_row(
            row["what"], row["truth"], row["received"], "ok" if row["ok"] else "DIFFERS", style=None if row["ok"] else "bold red"
        )
    console.print(table)
    for gap in report["gaps"]:
        if gap["reason"] != "sampling_overrun":
            console.print(
                f"declared: {gap['reason']} {gap['interval'][0]} .. {gap['interval'][1]} lost={gap['lost']} recovered={gap['recovered']}",
                highlight=False,
            )
    different = sum(not row["ok"] for row in report["rows"])
    console.print(
        f"{report['applied']} events applied, {report['lost']} lost, {report['duplicates']} duplicates removed by id, "
        f"{report['resends']} asked for again: "
        + ("received equals truth in every row" if report["ok"] else f"{different} rows differ"),
        style="green" if report["ok"] else "bold red",
        highlight=False,
    )
    if hint := too_fast(report):
        console.print(hint, highlight=False)


def too_fast(report: dict[str, Any]) -> str | None:
    """Return what to do when rows differ and the agent was away for long: its start takes machine time, which ``speed`` multiplies."""
    away = [_seconds(gap["interval"]) for gap in report["gaps"] if gap["reason"] == "agent_down"]
    longest = max(away, default=0.0)
    if report["ok"]:
        return None
    if longest < 2 * report["speed"]:
        late = any(row["what"].startswith("polls too late") and not row["ok"] for row in report.get("rows", ()))
        return (
            f"this machine was too busy for speed {report['speed']:g}: polls came too late, which is declared; play at a lower --speed, "
            "or with fewer programs beside it"
            if late
            else None
        )
    return (
        f"the agent was away for {longest:.0f} s of the plant's time ({longest / report['speed']:.1f} s here): what happened meanwhile it "
        "cannot know; play at a lower --speed, or with fewer programs beside it"
    )


def _seconds(interval: list[str]) -> float:
    begin, end = map(datetime.fromisoformat, interval)
    return (end - begin).total_seconds()
