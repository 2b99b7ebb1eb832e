"""``edge-agent tags ...``: the two verbs and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_agent.cli.options import DEFAULT_CONFIG, Config

app = typer.Typer(
    name="tags", help="Move tag lists as tables: CSV, and what TIA Portal exports.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("export")
def export(
    device: Annotated[str, typer.Argument(help="Name of the device.")],
    config: Config = DEFAULT_CONFIG,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.  [default: the terminal]")] = None,
    separator: Annotated[Literal[";", ",", "tab"], typer.Option("--separator", help="Between the cells.")] = ";",
    decimal_comma: Annotated[bool, typer.Option("--decimal-comma", help="Write 0,1 as spreadsheets of many countries do.")] = False,
) -> None:
    """Write a device's tags as a table, one tag a row."""
    from edge_agent.cli.tags import export as verb

    verb(config, device, output, separator="\t" if separator == "tab" else separator, decimal_comma=decimal_comma)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV (any separator, decimal commas too), .xlsx, or .xml of TIA Portal.")],
    device: Annotated[Path | None, typer.Option("--to", help="The device file that gets the tags: devices/plc1.yaml.")] = None,
    kind: Annotated[
        Literal["auto", "csv", "tia-nodeset", "tia-tags", "tia-texts"],
        typer.Option("--from", help="tia-nodeset: OPC UA export; tia-tags: PLC tag table; tia-texts: alarm texts or text list."),
    ] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With tia-texts: the new table of codes, reasons.csv.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be added.")] = False,
) -> None:
    """Add the tags of a table or an export to a device's file; comments and tags that are there stay as they are.

    Every mistake is told with its row, and then nothing is changed. With --from tia-texts: write a table of codes instead.
    """
    from edge_agent.cli.tags import import_ as verb
    from edge_agent.cli.tags import import_texts

    if kind == "tia-texts":
        if output is None:
            raise typer.BadParameter("name the new table of codes with --output reasons.csv")
        import_texts(file, output)
        return
    if device is None:
        raise typer.BadParameter("name the device file that gets the tags with --to devices/plc1.yaml")
    verb(file, device, kind, dry_run=dry_run)
