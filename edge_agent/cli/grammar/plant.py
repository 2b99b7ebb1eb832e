"""Verbs of the MES side, and the demo line."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.books import PasswordFile, Url
from edge_agent.cli.options import Level, Style

app = typer.Typer()


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
    workers: Annotated[
        int, typer.Option("--workers", min=0, max=16, help="Processes that the agent reads the devices with; 0: by itself.")
    ] = 0,
) -> None:
    """Play the demo line: simulated PLCs, an MQTT broker, the agent, and a MOM side that checks every number."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # each ends a demo in order, from its first moment
        signal.signal(number, signal.default_int_handler)
    try:
        from edge_agent.cli.demo import demo as verb
    except KeyboardInterrupt:
        print("stopped")
        raise typer.Exit(130) from None

    raise typer.Exit(
        verb(once=once, speed=speed, faults=faults, scenario=scenario, broker=broker, json_file=json, keep=keep, workers=workers)
    )
