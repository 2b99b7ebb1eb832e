"""Verbs that ask a device, read-only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_agent.cli.options import DEFAULT_CONFIG, AsJson, Config, MaybeConfig

app = typer.Typer()


@app.command()
def read(
    device: Annotated[str | None, typer.Argument(help="One device.  [default: all]")] = None,
    config: Config = DEFAULT_CONFIG,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and print every change, until Ctrl-C.")] = False,
    json: AsJson = False,
) -> None:
    """Read every tag once: value, unit, quality, time, raw value. Publishes and stores nothing. Exit code 0: all good, 1: some are not."""
    from edge_agent.cli.read import read as verb

    raise typer.Exit(verb(config, device, follow=follow, as_json=json))


@app.command()
def browse(
    target: Annotated[
        str | None, typer.Argument(metavar="[URL|FILE]", help="opc.tcp://host:4840, or a device file, whose server is taken.")
    ] = None,
    path: Annotated[
        str | None,
        typer.Argument(help="Part of the tree: Line1, or a pattern: 'Line1/**/Speed'.  [default: the file's tags_from, else all]"),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, max=50, help="Levels below Objects.")] = 10,
    limit: Annotated[int, typer.Option("--limit", min=1, max=50_000, help="Most variables.")] = 50_000,
    add: Annotated[
        Path | None,
        typer.Option(
            "--add", help="Add the tags that are missing to this device file; its comments stay. A new file is written whole."
        ),
    ] = None,
    allow_insecure: Annotated[
        bool, typer.Option("--allow-insecure", help="Connect without encryption (security policy None).")
    ] = False,
    config: MaybeConfig = None,
) -> None:
    """Show what an OPC UA server has, as tags with addresses, types and live values. Reads only."""
    from edge_agent.cli.browse import Wish
    from edge_agent.cli.browse import browse as verb

    verb(Wish(target, path, depth, limit, add, allow_insecure, config))


@app.command()
def peek(
    target: Annotated[
        str, typer.Argument(metavar="HOST|PORT|FILE", help="Host, host:port, /dev/ttyUSB0, or a Modbus device's file.")
    ],
    register: Annotated[
        list[str],
        typer.Argument(
            metavar="REGISTER [COUNT]", help="As the vendor prints it: 40011, holding 10, 4x0011, %MW10, 10; and how many."
        ),
    ],
    expect: Annotated[str | None, typer.Option("--expect", help="What the device's display shows: 21.5, or a text.")] = None,
    area: Annotated[
        Literal["coil", "discrete", "input", "holding"] | None,
        typer.Option("--area", help="Area of a plain number.  [default: holding]"),
    ] = None,
    base: Annotated[
        int | None,
        typer.Option("--base", min=0, max=1, help="What the first register is called in the vendor's table.  [default: 0]"),
    ] = None,
    unit_id: Annotated[int | None, typer.Option("--unit-id", min=0, max=255, help="Modbus unit.  [default: 1]")] = None,
    reads: Annotated[int, typer.Option("--reads", min=1, max=1000, help="How often it is read: values that move tell more.")] = 3,
    every: Annotated[str, typer.Option("--every", help="Time between the reads.")] = "1s",
    timeout: Annotated[str | None, typer.Option("--timeout", help="How long an answer may take.  [default: 1s]")] = None,
    tolerance: Annotated[float, typer.Option("--tolerance", min=0, max=50, help="Percent that --expect may be off.")] = 2.0,
    top: Annotated[int, typer.Option("--top", min=1, help="How many candidates to show.")] = 8,
    name: Annotated[str | None, typer.Option("--name", help="Name of the tag that is printed.")] = None,
    framing: Annotated[
        Literal["tcp", "rtu", "ascii"] | None, typer.Option("--framing", help="[default: tcp for a host, rtu for a serial port]")
    ] = None,
    baud: Annotated[int | None, typer.Option("--baud", min=50, help="Of a serial port.  [default: 19200]")] = None,
    parity: Annotated[
        Literal["even", "odd", "none"] | None, typer.Option("--parity", help="Of a serial port.  [default: even]")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what Modbus registers could be: every type and word order, most likely first, as tags. Reads only.

    Exit code 0: shown, 1: the expected value is not there, or the device does not answer.
    """
    from edge_agent.cli.peek import Wish
    from edge_agent.cli.peek import peek as verb

    wish = Wish(target, register, expect, area, base, unit_id, reads, every, timeout, tolerance, top, name, framing, baud, parity)
    raise typer.Exit(verb(wish, as_json=json))


@app.command()
def trust(
    server: Annotated[str, typer.Argument(metavar="URL", help="opc.tcp://host:4840, or the name of a device.")],
    config: Config = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Agree without being asked.")] = False,
    following: Annotated[
        Path | None,
        typer.Option("--next", metavar="FILE", help="Trust the certificate in FILE too, which the server will show next."),
    ] = None,
    pki: Annotated[
        Path | None,
        typer.Option("--pki", help="Folder of keys and pins.  [default: as the configuration says, else beside the buffer]"),
    ] = None,
) -> None:
    """Show an OPC UA server's certificate and, when you agree, pin it: the only way trust begins. Exit code 0: it is trusted, 1: it is not."""
    from edge_agent.cli.trust import trust as verb

    verb(server, config, yes=yes, following=following, pki=pki)
