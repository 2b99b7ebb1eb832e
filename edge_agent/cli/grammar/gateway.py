"""Verbs of a gateway that runs, or shall."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.options import DEFAULT_CONFIG, AsJson, Config, Level, Style, until_interrupted

app = typer.Typer()


@app.command()
def run(config: Config = DEFAULT_CONFIG, log_level: Level = "info", log_format: Style = "auto") -> None:
    """Run the agent in the foreground until SIGTERM or Ctrl-C (what systemd starts)."""
    from edge_agent import lean

    lean.prepare()  # before the first import of a library that it is about
    from edge_agent.cli.run import run as verb

    verb(config, log_level, log_format)


@app.command()
def reload(config: Config = DEFAULT_CONFIG, json: AsJson = False) -> None:
    """Have the running agent take over its changed configuration: only changed devices and units restart, everything else goes on.

    Exit code 0: it runs with the files as they are, 78: they are wrong (told with file and line), 1: it cannot take them over while it
    runs; with 78 and 1 the configuration of before runs on.
    """
    from edge_agent.cli.reload import reload as verb

    raise typer.Exit(verb(config, as_json=json))


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    brief: Annotated[
        bool, typer.Option("--brief", help="One line with figures, for Nagios, Checkmk or Zabbix; exit code 3: unknown.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show how the running agent does: devices, units, delivery, buffer, faults with their codes. For monitoring, too.

    Exit code 0: ok, 1: warning (something wants a person), 2: critical, or no agent runs.
    """
    from edge_agent.cli.status import status as verb

    raise typer.Exit(verb(config, as_json=json, brief=brief))


@app.command()
def metrics(config: Config = DEFAULT_CONFIG) -> None:
    """Print the running agent's metrics in Prometheus' text format, as GET /metrics has them; for node_exporter's textfile collector, too."""
    from edge_agent.cli.metrics import metrics as verb

    verb(config)


@app.command()
def explain(
    code: Annotated[str | None, typer.Argument(help="A fault code or the name of a log line.  [default: list all]")] = None,
    page: Annotated[bool, typer.Option("--page", help="Print the page of all of them (Markdown).")] = False,
    json: AsJson = False,
) -> None:
    """Explain a fault code: its cause, what to check, what to do. Needs no agent and no network."""
    from edge_agent.cli.explain import explain as verb

    verb(code, page=page, as_json=json)


@app.command()
def tail(
    config: Config = DEFAULT_CONFIG,
    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="Only these: production.count, 'downtime.*'; may be repeated.")
    ] = None,
    units: Annotated[list[str] | None, typer.Option("--unit", "-u", help="Only of this work unit; may be repeated.")] = None,
    grep: Annotated[str | None, typer.Option("--grep", help="Only events with this text in them.")] = None,
    telemetry: Annotated[bool, typer.Option("--telemetry", help="Sampled values, too.")] = False,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many.")] = None,
    json: AsJson = False,
) -> None:
    """Show events as they leave: each at the moment when the broker has taken it. Ctrl-C ends it; the agent does not notice."""
    from edge_agent.cli.tail import Wish
    from edge_agent.cli.tail import tail as verb

    raise typer.Exit(until_interrupted(lambda: verb(config, Wish(types or (), units or (), grep, telemetry, count), as_json=json)))


@app.command()
def watch(
    config: Config = DEFAULT_CONFIG,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks.")] = 1.0,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many looks.")] = None,
) -> None:
    """Watch the running agent on the terminal: devices, units, delivery, faults, events. Plain lines where output is no terminal.

    Ctrl-C ends it. Exit code as of status, by the last look.
    """
    from edge_agent.cli.watch import watch as verb

    raise typer.Exit(until_interrupted(lambda: verb(config, every=every, count=count)))


@app.command()
def docs(show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False) -> None:
    """Say where the handbook is that came with this installation: tutorials, how-tos, reference; searchable, needs no network."""
    from edge_agent.cli.handbook import handbook as verb

    verb(show=show)


@app.command()
def doctor(
    config: Config = DEFAULT_CONFIG,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The zip to write.  [default: here, named by agent and time]")
    ] = None,
) -> None:
    """Collect a support bundle: configuration, status, journal, store, versions, clock, disk, network; secrets are masked. Sends nothing."""
    from edge_agent.cli.doctor import doctor as verb

    raise typer.Exit(verb(config, output))


@app.command()
def adopt(
    config: Config = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Agree without being asked.")] = False,
) -> None:
    """Let this blank gateway go on where a lost one ended: totals, order, state and downtimes from the broker's retained checkpoints."""
    from edge_agent.cli.adopt import run as verb

    verb(config, yes=yes)
