"""``edge-agent buffer``: the verbs and their options; what they do is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.cli.options import AsJson, MaybeConfig, Store

app = typer.Typer(
    help="Look into the buffer, export what it holds, have records sent again. Asks the running agent; without one it opens the store itself.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_LARGEST = (1 << 63) - 1

Stream = Annotated[str, typer.Option("--stream", help="Stream as `buffer status` calls it: filler, filler/telemetry, _agent/gw1.")]
First = Annotated[int, typer.Option("--from", min=1, max=_LARGEST, help="First number.")]
Last = Annotated[int | None, typer.Option("--to", min=1, max=_LARGEST, help="Last number.  [default: the newest]")]
Epoch = Annotated[str | None, typer.Option("--epoch", help="Epoch of the numbers.  [default: the store's own]")]


@app.command()
def status(config: MaybeConfig = None, store: Store = None, json: AsJson = False) -> None:
    """Show what waits for delivery: by class and stream, since when, bytes on disk, epoch, numbers."""
    from edge_agent.cli.desk import status as verb

    verb(config, store, as_json=json)


@app.command()
def export(
    config: MaybeConfig = None,
    store: Store = None,
    stream: Annotated[
        str | None, typer.Option("--stream", help="A stream, delivered or not.  [default: everything undelivered]")
    ] = None,
    first: First = 1,
    last: Last = None,
    epoch: Epoch = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A new file.  [default: standard output]")] = None,
    publish: Annotated[
        str | None, typer.Option("--publish", metavar="URL", help="Send to this broker (mqtts://host), without an agent only.")
    ] = None,
    ca: Annotated[str | None, typer.Option("--ca", help="With --publish: PEM file of the broker's CA, or: system.")] = None,
    username: Annotated[str | None, typer.Option("--username", help="With --publish.")] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="With --publish: file that holds the password.")
    ] = None,
    allow_insecure: Annotated[bool, typer.Option("--allow-insecure", help="With --publish: accept plain mqtt://.")] = False,
) -> None:
    """Write records as CloudEvents, one line of JSON each, exactly as they are published; nothing counts as delivered.

    With --store it reads the buffer of a dead gateway on another machine. With --publish it sends them to a broker
    instead, flagged resend=1; consumers recognise repeats by their ids. A damaged store gives what can be read of it.
    Exit code 0: everything, 3: records are damaged, and declared by collection.gap events in their place.
    """
    from edge_agent.cli.export import Broker
    from edge_agent.cli.export import export as verb
    from edge_agent.status.report import Wanted

    if stream is None and (first != 1 or last is not None or epoch is not None):
        raise typer.BadParameter("--from, --to and --epoch belong to a --stream")
    if output is not None and publish is not None:
        raise typer.BadParameter("either --output or --publish")
    broker = None if publish is None else Broker(publish, ca, username, password_file, allow_insecure)
    raise typer.Exit(verb(config, store, Wanted(stream, epoch, first, last), output, broker))


@app.command()
def resend(
    stream: Stream, first: First, last: Last = None, epoch: Epoch = None, config: MaybeConfig = None, store: Store = None
) -> None:
    """Send delivered records again, under the same ids. They are kept for the resend window (buffer.resend_window)."""
    from edge_agent.cli.desk import resend as verb
    from edge_agent.status.report import ResendWish

    verb(config, store, ResendWish(stream, first, last, epoch))


@app.command("dead-letters")
def dead_letters(
    config: MaybeConfig = None,
    store: Store = None,
    retry: Annotated[
        str | None, typer.Option("--retry", metavar="NUMBER|all", help="Send again as a new late event of its stream.")
    ] = None,
    json: AsJson = False,
) -> None:
    """List the records that the broker refused for good, with the reason; a collection.gap event stands in their place."""
    from edge_agent.cli.desk import dead_letters as verb
    from edge_agent.cli.desk import retry as again

    if retry is None:
        verb(config, store, as_json=json)
        return
    if retry != "all" and not retry.isdecimal():
        raise typer.BadParameter("--retry takes the number of a dead letter, or: all")
    again(config, store, None if retry == "all" else int(retry))
