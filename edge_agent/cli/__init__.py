"""Floor 4: the command line. Verbs import what they need when they run, so that ``--help`` stays quick."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edge_agent import __version__
from edge_agent.cli.books import app as books
from edge_agent.cli.buffer import app as buffer
from edge_agent.cli.grammar import configuration, devices, gateway, plant
from edge_agent.cli.identityapp import app as identity
from edge_agent.cli.tagsapp import app as tags
from edge_agent.model.errors import ConfigError, EdgeAgentError

EXIT_CONFIG = 78
"""EX_CONFIG of sysexits(3): systemd need not try again before somebody mends the file."""

app = typer.Typer(
    name="edge-agent",
    help="Collects PLC data over OPC UA and Modbus and delivers production events over MQTT: every part once, every gap declared.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verbs in (gateway, configuration, devices, plant):
    app.add_typer(verbs.app)
app.add_typer(buffer, name="buffer")
app.add_typer(books, name="books")
app.add_typer(tags, name="tags")
app.add_typer(identity, name="identity")


def _version(value: bool) -> None:
    if value:
        print(f"edge-agent {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake is one message on stderr and an exit code, never a traceback."""
    try:
        app()
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_CONFIG)
    except EdgeAgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        sys.exit(1)
