"""``edge-agent identity ...``: the two verbs and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.options import DEFAULT_CONFIG, Config

app = typer.Typer(
    name="identity", help="Carry a gateway's identity to the one that replaces it.", no_args_is_help=True, rich_markup_mode=None
)

Passphrase = Annotated[Path | None, typer.Option("--passphrase-file", help="File with the passphrase.  [default: asked]")]


@app.command("export")
def export(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="A new file: gw-l3.identity.")],
    config: Config = DEFAULT_CONFIG,
    passphrase_file: Passphrase = None,
) -> None:
    """Write configuration, certificates and pins, and the agent's key sealed with a passphrase, to one file. Passwords are not in it."""
    from edge_agent.cli.identity import export as verb

    verb(config, output, passphrase_file)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export has written.")],
    config: Config = DEFAULT_CONFIG,
    passphrase_file: Passphrase = None,
    pki: Annotated[
        Path | None, typer.Option("--pki", help="Folder of keys and pins.  [default: as the configuration says]")
    ] = None,
) -> None:
    """Lay out an identity on a blank gateway; nothing that exists is changed."""
    from edge_agent.cli.identity import import_ as verb

    verb(file, config, passphrase_file, pki)
