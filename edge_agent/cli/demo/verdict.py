"""Truth and received side by side."""

from __future__ import annotations

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
