"""``edge-agent books``: what the consumer's database says, for people and for programs."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edge_agent.cli.options import AsJson
from edge_agent.model.errors import EdgeAgentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.consumer.database import Database
    from edge_agent.consumer.oee import Unit
    from edge_agent.consumer.report import Window

app = typer.Typer(
    name="books",
    help="What the consumer's database says: complete up to when, OEE, shift report.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Url = Annotated[
    str,
    typer.Option(
        "--database", envvar="EDGE_AGENT_DATABASE", help="sqlite:///FILE or postgresql://user@host/database, without a password."
    ),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", envvar="EDGE_AGENT_DATABASE_PASSWORD_FILE", help="File with the database's password."),
]
UnitName = Annotated[str | None, typer.Option("--unit", help="The work unit, when there are several.")]
Order = Annotated[str | None, typer.Option("--order", help="One order.")]
Shift = Annotated[str | None, typer.Option("--shift", help="One shift: the last of that name, or that of --date.")]
Date = Annotated[str | None, typer.Option("--date", help="Local date on which the shift began: 2026-10-25.")]
Since = Annotated[str | None, typer.Option("--from", help="A time instead of a shift: 2026-10-25T05:00:00Z.")]
Until = Annotated[str | None, typer.Option("--to", help="The end of that time.")]
Ideal = Annotated[
    float | None,
    typer.Option("--ideal", min=1e-6, help="Seconds that one part should take.  [default: table ideals, design speed]"),
]
Planned = Annotated[
    list[str] | None, typer.Option("--planned", help="Reason code of stops that are planned, and no loss; may be repeated.")
]


@dataclasses.dataclass(frozen=True)
class Asked:
    """What window the user means."""

    unit: str | None
    order: str | None
    shift: str | None
    date: str | None
    since: str | None
    until: str | None


@app.command()
def complete(
    database: Url,
    password_file: PasswordFile = None,
    to: Annotated[str | None, typer.Option("--to", help="The time that has to be reached: 2026-10-25T05:00:00Z.")] = None,
    json: AsJson = False,
) -> None:
    """Say up to when everything is here, or which numbers are missing. Exit code 0: complete, 1: not yet."""
    from edge_agent.consumer import completeness
    from edge_agent.consumer.event import micros

    with _opened(database, password_file) as books:
        proofs = completeness.proofs(books, None if to is None else _time(micros, to))
    if json:
        print(msgspec.json.encode([{**msgspec.to_builtins(one), "words": one.words()} for one in proofs]).decode())
    else:
        for one in proofs:
            print(f"{'complete' if one.complete else 'NOT YET '}  {one.words()}")
    raise typer.Exit(0 if proofs and all(one.complete for one in proofs) else 1)


@app.command()
def oee(
    database: Url,
    password_file: PasswordFile = None,
    unit: UnitName = None,
    order: Order = None,
    shift: Shift = None,
    date: Date = None,
    since: Since = None,
    until: Until = None,
    ideal: Ideal = None,
    planned: Planned = None,
    json: AsJson = False,
) -> None:
    """Print the OEE of an order, a shift or any time, by ISO 22400-2 from the events alone."""
    from edge_agent.consumer import report

    with _opened(database, password_file) as books:
        chosen, window = _window(books, Asked(unit, order, shift, date, since, until))
        figures = report.figures(books, chosen, window, pri=ideal, planned=planned or ())
    factors = {name: getattr(figures, name) for name in ("availability", "effectiveness", "quality", "oee")}
    if json:
        print(
            msgspec.json.encode(
                {"unit": chosen.subject, "window": window.title, **factors, **msgspec.to_builtins(figures)}
            ).decode()
        )
        return
    print(f"{window.title}, {chosen.subject}{'' if window.over else ' (not over)'}")
    print(f"  PBT {figures.pbt_s:.1f} s   APT {figures.apt_s:.1f} s   PRI {figures.pri_s or 'unknown: give --ideal'}")
    print(f"  produced {figures.produced:g}   good {figures.good:g}   scrap {figures.scrap:g}")
    for name, value in factors.items():
        print(f"  {name:<14}{'-' if value is None else f'{value:.5f}'}")


@app.command()
def report(
    database: Url,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    password_file: PasswordFile = None,
    unit: UnitName = None,
    order: Order = None,
    shift: Shift = None,
    date: Date = None,
    since: Since = None,
    until: Until = None,
    ideal: Ideal = None,
    planned: Planned = None,
) -> None:
    """Write the report of a shift, an order or any time as one HTML file that needs nothing else."""
    from edge_agent.consumer import page
    from edge_agent.consumer import report as facts

    with _opened(database, password_file) as books:
        chosen, window = _window(books, Asked(unit, order, shift, date, since, until))
        composed = facts.compose(books, chosen, window, pri=ideal, planned=planned or ())
    try:
        output.write_text(page.render(composed), encoding="utf-8")
    except OSError as error:
        raise EdgeAgentError(f"cannot write {output}: {error.strerror}") from error
    print(f"{window.title}: {output}")


@contextmanager
def _opened(url: str, password_file: Path | None) -> Iterator[Database]:
    from edge_agent.consumer.database import open_database

    books = open_database(url, password_file, create=False)
    try:
        yield books
    finally:
        books.close()


def _window(books: Database, asked: Asked) -> tuple[Unit, Window]:
    from edge_agent.consumer import oee, report
    from edge_agent.consumer.event import micros

    unit = oee.unit_of(books, asked.unit)
    if asked.order is not None:
        return unit, report.order_window(books, unit, asked.order)
    if asked.shift is not None:
        return unit, report.shift_window(books, unit, asked.shift, asked.date)
    if asked.since is None or asked.until is None:
        raise EdgeAgentError("of what? name an --order, a --shift, or a time by --from and --to")
    return unit, report.time_window(books, unit, _time(micros, asked.since), _time(micros, asked.until))


def _time(read: Any, text: str) -> int:
    try:
        found: int = read(text)
    except ValueError:
        raise EdgeAgentError(f"{text} is no time with a zone; write it like 2026-10-25T05:00:00Z") from None
    return found
