"""Verbs about the configuration, and what it makes of readings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_agent.cli.options import DEFAULT_CONFIG, AsJson, Config, MaybeConfig

app = typer.Typer()


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where the configuration shall stand.")] = DEFAULT_CONFIG,
    agent: Annotated[
        str | None, typer.Option("--agent", help="Name of this gateway.  [default: asked, else the host's name]")
    ] = None,
    site: Annotated[str | None, typer.Option("--site", help="enterprise/site.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="The machine: area/line/machine.")] = None,
    broker: Annotated[
        str | None, typer.Option("--broker", help="mqtts://host[:8883], wss://host, or mqtt://host for a test.")
    ] = None,
    ca: Annotated[str | None, typer.Option("--ca", help="PEM file of the broker's CA, or: system.")] = None,
    username: Annotated[
        str | None, typer.Option("--username", help="User at the broker; its password comes as a credential.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device", metavar="DEVICE", help="modbus:HOST[:PORT], opcua:HOST[:PORT], NAME=modbus:HOST; may be repeated."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take the defaults.")] = False,
    systemd: Annotated[
        bool,
        typer.Option("--systemd", help="Write the service's address allow-list (a drop-in) from the configuration that is there."),
    ] = False,
    drop_in: Annotated[
        Path | None, typer.Option("--drop-in", help="Folder of the drop-in.  [default: that of edge-agent.service]")
    ] = None,
) -> None:
    """Write a first configuration: agent.yaml, a device, a unit, each with its schema for the editor. Asks what options leave open.

    Nothing that exists is changed. With --systemd and a configuration that is there: only the drop-in that lets the service
    speak to its brokers and devices, and to nobody else.
    """
    from edge_agent.cli.begin import begin as verb
    from edge_agent.cli.init import Wish

    devices = None if device is None else tuple(device)
    verb(Wish(folder, agent, site, unit, broker, ca, username, devices, yes), systemd=systemd, drop_in=drop_in)


@app.command()
def check(
    config: Config = DEFAULT_CONFIG,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect",
            help="Also ask every device, read-only, whether it is as the configuration says, and the broker whether it takes the connection.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Check the configuration and print every problem with file, line and remedy. Exit code 0: fine, 1: problems.

    With --connect 1: a device is not as configured or the broker takes no connection, 78: the configuration is wrong, and no device was asked.
    """
    from edge_agent.cli.check import check as verb

    raise typer.Exit(verb(config, as_json=json, connect=connect))


@app.command()
def plan(
    config: Config = DEFAULT_CONFIG,
    device: Annotated[str | None, typer.Argument(help="One device, and what shares its connection.  [default: all]")] = None,
    answer: Annotated[
        str,
        typer.Option(
            "--answer", help="Time that each answer is taken to need besides its bytes: network and device. An assumption."
        ),
    ] = "10ms",
    blocks: Annotated[bool, typer.Option("--blocks", help="Also list every request.")] = False,
    json: AsJson = False,
) -> None:
    """Show what the polls of the Modbus devices cost: requests, bytes, time on the line, and the worst case with one dead unit. Asks no device.

    Exit code 0: the periods hold, 1: some cannot hold.
    """
    from edge_agent.cli.plan import plan as verb

    raise typer.Exit(verb(config, device, answer, blocks=blocks, as_json=json))


@app.command()
def migrate(
    config: Config = DEFAULT_CONFIG,
    write: Annotated[
        bool, typer.Option("--write", help="Write the files; what they were stays beside them as NAME.yaml.v0.bak.")
    ] = False,
) -> None:
    """Take the configuration to the newest version: show the difference, or write it. Comments and order stay.

    Exit code 0: nothing to do, or written, 1: something would change.
    """
    from edge_agent.cli.migrate import migrate as verb

    raise typer.Exit(verb(config, write=write))


@app.command()
def schema(
    what: Annotated[
        Literal["agent", "device", "unit", "test", "events", "status", "asyncapi"],
        typer.Argument(
            help="Which file's schema; events: of every event type; status: of the retained status; asyncapi: what a configuration publishes."
        ),
    ] = "agent",
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print the JSON Schema of a configuration file, for editors, or of the events, for consumers."""
    from edge_agent.cli.schema import asyncapi
    from edge_agent.cli.schema import schema as verb

    if what == "asyncapi":
        from edge_agent.config.load import load

        print(asyncapi(load(config)), end="")
    else:
        print(verb(what), end="")


@app.command("test")
def mapping_tests(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Mapping tests.  [default: tests/*.yaml of the configuration]")
    ] = None,
    config: MaybeConfig = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Run again whenever a file changes, until Ctrl-C.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also name the tests that pass.")] = False,
) -> None:
    """Run mapping tests: given these readings, expect these events. Needs no device. Exit code 0: all pass, 1: some fail, 78: a file is wrong.

    A file below the folder of a configuration is run with that one; else --config says which.
    """
    from edge_agent.cli.mapping import test as verb

    raise typer.Exit(verb(files or [], config, watch=watch, verbose=verbose))


@app.command()
def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write: line.jsonl.gz; without .gz it is not compressed.")],
    config: Config = DEFAULT_CONFIG,
    duration: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long at most: 30s, 10min, 8h.")] = "1h",
    limit: Annotated[str, typer.Option("--limit", metavar="SIZE", help="How large the file may become: 100MB, 2GB.")] = "100MB",
) -> None:
    """Record what the devices of a running line say, to derive events from it again offline. Reads only, publishes nothing; Ctrl-C ends it."""
    from edge_agent.cli.replay import record as verb

    raise typer.Exit(verb(file, config, duration, limit))


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording.")],
    config: MaybeConfig = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the events to this file.")] = None,
    expect: Annotated[
        Path | None, typer.Option("--expect", metavar="FILE", help="Compare with these events, byte by byte.")
    ] = None,
    diff: Annotated[
        Path | None, typer.Option("--diff", metavar="CONFIG", help="Derive with this configuration, too, and show what differs.")
    ] = None,
    restart_everywhere: Annotated[
        bool, typer.Option("--restart-everywhere", help="Restart every unit after every single reading: nothing may change.")
    ] = False,
) -> None:
    """Derive the events of a recording again, offline, with the configuration as it is now; print them as JSON lines.

    Exit code 0: fine, 1: with --expect or --diff something differs.
    """
    from edge_agent.cli.replay import Wish
    from edge_agent.cli.replay import simulate as verb

    raise typer.Exit(verb(Wish(file, config, output, expect, diff, restart_everywhere)))
