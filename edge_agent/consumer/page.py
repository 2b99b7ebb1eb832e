"""The shift report as one HTML file that needs nothing else: no script, no font, no address. Pure: facts in, text out."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

from edge_agent.consumer.charts import axis, counts, pareto, states, waterfall
from edge_agent.consumer.event import micros
from edge_agent.consumer.report import Report, Window

_DASH = "&ndash;"


def render(report: Report) -> str:
    """Return the page of ``report``."""
    window = report.window
    template = Template(files("edge_agent.consumer").joinpath("pages/shift.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(window.title),
        unit=escape(report.unit.subject),
        span=f"{clock(window, window.begin, '%Y-%m-%d %H:%M:%S')} {_DASH} {clock(window, window.end, '%Y-%m-%d %H:%M:%S')}",
        tz=escape(window.tz),
        proof=_proof(report),
        tiles=_tiles(report),
        states=states(report, axis(window)),
        counts=counts(report, axis(window)),
        pareto=pareto(report),
        waterfall=waterfall(report.figures),
        orders=_orders(report),
        alarms=_alarms(report),
        gaps=_gaps(report),
        notes=_notes(report),
    )


def clock(window: Window, at: int, form: str = "%H:%M:%S") -> str:
    """Return a time as the shift's wall clock shows it."""
    return datetime.fromtimestamp(at / 1e6, UTC).astimezone(window.zone).strftime(form)


def _proof(report: Report) -> str:
    proof, window = report.proof, report.window
    if proof is None:
        return '<section class="card proof waits"><strong>Nothing is known of this unit&rsquo;s stream.</strong></section>'
    waiting = [one for one in proof.missing if one.how == "waiting"]
    lost = [one for one in proof.missing if one.how != "waiting"]
    reached = clock(window, micros(proof.complete_to), "%Y-%m-%d %H:%M:%S") if proof.complete_to else "no time yet"
    if proof.complete:
        said = f"<strong>Complete.</strong> Everything up to {clock(window, window.end)} is here"
    elif waiting:
        ranges = ", ".join(f"{one.first}{_DASH}{one.last}" for one in waiting)
        said = f"<strong>Not complete yet.</strong> Waiting for the numbers {ranges}; proven up to {reached}"
    else:
        said = f"<strong>Not complete yet.</strong> Proven up to {reached}"
    said += f"; {sum(one.last - one.first + 1 for one in lost)} numbers are declared lost" if lost else ""
    said += f"; {proof.alarms} events need a look (consumer_alarms)" if proof.alarms else ""
    running = "" if window.over else " The window is not over: these are the figures so far."
    return f'<section class="card proof{"" if proof.complete else " waits"}">{said}.{running}</section>'


def _tiles(report: Report) -> str:
    figures = report.figures
    shown = [
        ("main", "OEE", _percent(figures.oee)),
        ("", "Availability", _percent(figures.availability)),
        ("", "Effectiveness", _percent(figures.effectiveness)),
        ("", "Quality", _percent(figures.quality)),
        ("", "Produced", _number(figures.produced)),
        ("", "Good", _number(figures.good)),
        ("", "Scrap", _number(figures.scrap)),
        ("", "Target", _number(report.target)),
    ]
    return "".join(f'<div class="tile {kind}"><span class="soft">{name}</span><b>{value}</b></div>' for kind, name, value in shown)


def _percent(value: float | None) -> str:
    return _DASH if value is None else f"{value * 100:.1f} %"


def _number(value: float | None) -> str:
    if value is None:
        return _DASH
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:,.2f}"


def _table(heads: list[tuple[str, str]], rows: list[list[str]], none: str) -> str:
    if not rows:
        return f'<p class="soft">{none}</p>'
    top = "".join(f'<th class="{kind}">{name}</th>' for name, kind in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for cell, (_, kind) in zip(row, heads, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _orders(report: Report) -> str:
    heads = [("Order", ""), ("Product", ""), ("Planned", "n"), ("Produced", "n"), ("Good", "n"), ("Scrap", "n")]
    rows = [
        [escape(one.order), escape(one.product or _DASH), *map(_number, (one.planned, one.total, one.good, one.scrap))]
        for one in report.orders
    ]
    return _table(heads, rows, "No order was on the unit.")


def _alarms(report: Report) -> str:
    window = report.window
    rows = []
    for one in report.alarms:
        raised = clock(window, one.raised) if one.raised is not None else "before"
        lasted = (
            f"{(one.cleared - one.raised) / 1e6:,.1f} s" if one.cleared is not None and one.raised is not None else "still active"
        )
        text = escape(one.message) + (" <b>(first)</b>" if one.first_out else "")
        rows.append([raised, escape(one.alarm_id), text, lasted if one.cleared is not None else "still active"])
    return _table([("Raised", "num"), ("Alarm", ""), ("Text", ""), ("Lasted", "n")], rows, "No alarms.")


def _gaps(report: Report) -> str:
    window = report.window
    rows = [
        [
            f"{clock(window, one.begin)} {_DASH} {clock(window, one.end)}",
            escape(one.reason),
            escape(one.device or "all"),
            escape(one.lost),
        ]
        for one in report.gaps
    ]
    return _table([("When", "num"), ("Reason", ""), ("Device", ""), ("Lost", "")], rows, "None: nothing was lost sight of.")


def _notes(report: Report) -> str:
    figures = report.figures
    pri = (
        f"{figures.pri_s:g} s per part"
        if figures.pri_s
        else "unknown (give --ideal or fill the table ideals): no effectiveness, no OEE"
    )
    said = [
        f"Planned busy time {figures.pbt_s:,.1f} s, actual production time {figures.apt_s:,.1f} s, planned run time {pri} (ISO 22400-2)."
    ]
    if figures.bridged_s:
        said.append(f"{figures.bridged_s:,.1f} s of the production time were not seen; nothing speaks against them (hatched).")
    if figures.unknown_s:
        said.append(f"{figures.unknown_s:,.1f} s are unknown and count as not running.")
    for value, words in ((report.corrections, "corrected"), (report.late, "counted late"), (report.unassigned, "without an order")):
        if value:
            said.append(f"{_number(value)} pieces {words}.")
    return " ".join(said)
