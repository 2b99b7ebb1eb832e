"""Floor 4: the command line. Verbs import what they need when they run, so that ``--help`` stays quick."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_agent import __version__
from edge_agent.cli.books import PasswordFile, Url
from edge_agent.cli.books import app as books
from edge_agent.cli.buffer import app as buffer
from edge_agent.cli.options import DEFAULT_CONFIG, AsJson, Config, MaybeConfig
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

Level = Annotated[Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="Least level to log.")]
Style = Annotated[Literal["auto", "text", "json", "journald"], typer.Option("--log-format", help="How a log line looks.")]

app.add_typer(buffer, name="buffer")
app.add_typer(books, name="books")


def _version(value: bool) -> None:
    if value:
        print(f"edge-agent {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def run(config: Config = DEFAULT_CONFIG, log_level: Level = "info", log_format: Style = "auto") -> None:
    """Run the agent in the foreground until SIGTERM or Ctrl-C (what systemd starts)."""
    from edge_agent.cli.run import run as verb

    verb(config, log_level, log_format)


@app.command()
def check(
    config: Config = DEFAULT_CONFIG,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also ask every device, read-only, whether it is as the configuration says.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Check the configuration and print every problem with file, line and remedy. Exit code 0: fine, 1: problems.

    With --connect 1: a device is not as configured, 78: the configuration is wrong, and no device was asked.
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
def status(config: Config = DEFAULT_CONFIG, json: AsJson = False) -> None:
    """Show how the running agent does: devices, units, delivery, buffer. Exit code 0: ok, 1: degraded or critical, 2: no agent runs."""
    from edge_agent.cli.status import status as verb

    raise typer.Exit(verb(config, as_json=json))


@app.command()
def adopt(
    config: Config = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Agree without being asked.")] = False,
) -> None:
    """Let this blank gateway go on where a lost one ended: totals, order, state and downtimes from the broker's retained checkpoints."""
    from edge_agent.cli.adopt import run as verb

    verb(config, yes=yes)


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


@app.command()
def schema(
    what: Annotated[
        Literal["agent", "device", "unit", "test", "events", "asyncapi"],
        typer.Argument(help="Which file's schema; events: of every event type; asyncapi: what a configuration publishes."),
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


@app.command()
def consume(
    database: Url,
    broker: Annotated[str, typer.Option("--broker", envvar="EDGE_AGENT_BROKER", help="mqtts://host[:8883], wss://host/mqtt.")],
    password_file: PasswordFile = None,
    root: Annotated[str, typer.Option("--root", envvar="EDGE_AGENT_ROOT", help="mqtt.root of the agents.")] = "edge",
    client_id: Annotated[
        str, typer.Option("--client-id", envvar="EDGE_AGENT_CLIENT_ID", help="Name of the session that the broker keeps.")
    ] = "edge-agent-consumer",
    ca: Annotated[str | None, typer.Option("--ca", envvar="EDGE_AGENT_CA", help="PEM file of the broker's CA, or: system.")] = None,
    username: Annotated[str | None, typer.Option("--username", envvar="EDGE_AGENT_USERNAME", help="User at the broker.")] = None,
    mqtt_password_file: Annotated[
        Path | None,
        typer.Option("--mqtt-password-file", envvar="EDGE_AGENT_MQTT_PASSWORD_FILE", help="File with the password at the broker."),
    ] = None,
    allow_insecure: Annotated[
        bool, typer.Option("--allow-insecure", help="Accept mqtt:// and http:// without encryption.")
    ] = False,
    patience: Annotated[
        float, typer.Option("--patience", min=0.1, max=3600, help="Seconds after which a missing number is asked for.")
    ] = 5.0,
    rest: Annotated[
        str | None, typer.Option("--rest", envvar="EDGE_AGENT_REST", help="https:// address to which each event is also posted.")
    ] = None,
    rest_token_file: Annotated[
        Path | None,
        typer.Option("--rest-token-file", envvar="EDGE_AGENT_REST_TOKEN_FILE", help="File with the bearer token for it."),
    ] = None,
    rest_ca: Annotated[
        Path | None, typer.Option("--rest-ca", help="PEM file of the CA of that address.  [default: the system's]")
    ] = None,
    log_level: Level = "info",
    log_format: Style = "auto",
) -> None:
    """Consume the events of all agents of a broker into a database, each exactly once (the MES side; what systemd starts there)."""
    from edge_agent.cli.consume import Wish
    from edge_agent.cli.consume import consume as verb
    from edge_agent.cli.export import Broker

    settings = Broker(broker, ca, username, mqtt_password_file, allow_insecure, "--broker", "--mqtt-password-file")
    verb(Wish(database, password_file, settings, root, client_id, patience, rest, rest_token_file, rest_ca), log_level, log_format)


@app.command()
def demo(
    once: Annotated[
        bool,
        typer.Option("--once", help="Play the scenario to its end, compare with the truth, and exit (non-zero on a difference)."),
    ] = False,
    speed: Annotated[float, typer.Option("--speed", min=0.1, max=60, help="Plant seconds per second.")] = 10.0,
    faults: Annotated[
        bool, typer.Option("--faults", help="Inject the scenario's faults: cut links, kill the agent, stop the broker.")
    ] = False,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", help="Another scenario: a file, or packaging, press, bottling, batch, short.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option("--broker", help="host:port of a broker of yours instead of the embedded one.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the comparison as JSON to this file.")] = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Keep logs, buffer and ledgers in this folder.")] = None,
) -> None:
    """Play the demo line: simulated PLCs, an MQTT broker, the agent, and a MOM side that checks every number."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # each ends a demo in order, from its first moment
        signal.signal(number, signal.default_int_handler)
    try:
        from edge_agent.cli.demo import demo as verb
    except KeyboardInterrupt:
        print("stopped")
        raise typer.Exit(130) from None

    raise typer.Exit(verb(once=once, speed=speed, faults=faults, scenario=scenario, broker=broker, json_file=json, keep=keep))


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
