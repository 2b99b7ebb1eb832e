"""The pictures of the shift report, as HTML and inline SVG. Pure. Places are percent, so that they fit any width; text is never in a picture that is stretched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from edge_agent.consumer.oee import Figures
from edge_agent.consumer.report import Report, Window

_KNOWN = frozenset(
    {"running", "idle", "starting", "stopping", "starved", "blocked", "suspended", "held", "faulted", "stopped", "unknown"}
)
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)
"""Minutes between two marks of the axis."""

_MARKS = 9
_POINTS = 600


def colour(category: str | None) -> str:
    """Return the colour of a state category."""
    return f"var(--{category if category in _KNOWN else 'stopped'})"


def _share(window: Window, micros: int) -> float:
    return 100.0 * (min(max(micros, window.begin), window.end) - window.begin) / max(1, window.end - window.begin)


def axis(window: Window) -> str:
    """Return the time axis: the ends of the window, and full minutes or hours between them that have room."""
    minutes = (window.end - window.begin) / 60e6
    step = next((one for one in _STEPS if minutes / one <= _MARKS), _STEPS[-1]) * 60_000_000
    offset = datetime.fromtimestamp(window.begin / 1e6, UTC).astimezone(window.zone).utcoffset()
    shift = 0 if offset is None else round(offset.total_seconds() * 1e6)
    first = -(-(window.begin + shift) // step) * step - shift
    room = (window.end - window.begin) / 9  # the outer marks stand wholly inside: one and a half of them
    inner = [at for at in range(first, window.end, step) if at - window.begin > room and window.end - at > room]
    return '<div class="axis num">' + "".join(_mark(window, at) for at in (window.begin, *inner, window.end)) + "</div>"


def _mark(window: Window, micros: int) -> str:
    text = datetime.fromtimestamp(micros / 1e6, UTC).astimezone(window.zone).strftime("%H:%M")
    return f'<span style="left:{_share(window, micros):.3f}%">{text}</span>'


def _block(window: Window, begin: int, end: int, style: str, title: str, kind: str = "") -> str:
    left, right = _share(window, begin), _share(window, end)
    words = escape(title, quote=True)
    return f'<i class="{kind}" style="left:{left:.3f}%;width:{right - left:.3f}%;{style}" title="{words}"></i>'


def states(report: Report, below: str) -> str:
    """Return the state timeline with the gaps under it, and how long each category lasted."""
    window = report.window
    blocks, lasted = [], dict[str, float]()
    for one in report.segments:
        lasted[one.category] = lasted.get(one.category, 0.0) + one.seconds
        kind = "bridged" if one.bridged else "unknown" if one.category == "unknown" else ""
        title = f"{one.name} ({one.category}) {one.seconds:,.1f} s{', not seen' if one.bridged else ''}"
        blocks.append(_block(window, one.begin, one.end, f"background-color:{colour(one.category)}", title, kind))
    gaps = "".join(_block(window, gap.begin, max(gap.end, gap.begin + 1), "", f"gap: {gap.reason}") for gap in report.gaps)
    keys = "".join(
        f'<span><span class="key" style="background:{colour(name)}"></span>{escape(name)} <span class="soft num">{span(seconds)}</span></span>'
        for name, seconds in sorted(lasted.items(), key=lambda item: -item[1])
    )
    keys += '<span><span class="key gap"></span>gap in the data</span>' if gaps else ""
    strip = f'<div class="strip gapstrip">{gaps}</div>' if gaps else ""
    return f'<div class="strip" role="img" aria-label="States over time">{"".join(blocks)}</div>{strip}{below}<div class="legend">{keys}</div>'


def span(seconds: float) -> str:
    """Return a duration as a person writes it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def counts(report: Report, below: str) -> str:
    """Return the running sum of what was produced, beside the straight line to the target. Gaps are marked: what was made in them came at their end."""
    window, made = report.window, report.produced
    total = made[-1][1] if made else 0.0
    most = max(total, report.target or 0.0, max((value for _, value in made), default=0.0), 1.0) * 1.04
    steps = []
    for (at, value), (_, before) in zip(made, (made[0], *made), strict=False):
        steps += [(at, before), (at, value)]
    line = " ".join(
        f"{_share(window, at):.3f},{100 - 100 * value / most:.3f}" for at, value in _thinned([*steps, (window.end, total)])
    )
    target = ""
    if report.target:
        target = f'<polyline points="0,100 100,{100 - 100 * report.target / most:.3f}" fill="none" stroke="var(--soft)" stroke-width="1.5" stroke-dasharray="5 4" vector-effect="non-scaling-stroke"/>'
    bands = "".join(
        f'<rect x="{_share(window, gap.begin):.3f}" y="0" height="100" width="{max(0.15, _share(window, gap.end) - _share(window, gap.begin)):.3f}" fill="var(--bad)" opacity=".16"/>'
        for gap in report.gaps
    )
    svg = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Produced pieces over time">{bands}{target}<polyline points="{line}" fill="none" stroke="var(--accent)" stroke-width="2.2" stroke-linejoin="round" vector-effect="non-scaling-stroke"/></svg>'
    keys = f'<span><span class="key" style="background:var(--accent)"></span>produced <span class="num">{total:,.0f}</span></span>'
    keys += (
        f'<span><span class="key" style="background:var(--soft)"></span>target <span class="num">{report.target:,.0f}</span></span>'
        if report.target
        else ""
    )
    keys += (
        '<span><span class="key" style="background:var(--bad);opacity:.35"></span>gap: booked at its end</span>'
        if report.gaps
        else ""
    )
    return f'<div class="chart">{_grid(most)}{svg}</div><div class="under">{below}<div class="legend">{keys}</div></div>'


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most some hundred of the points; a screen has no more."""
    every = max(1, len(points) // (2 * _POINTS))
    return [*points[::every], points[-1]]


def _grid(most: float) -> str:
    rough = most / 4
    size = 10 ** (len(str(int(rough))) - 1)
    step = next(size * one for one in (1, 2, 2.5, 5, 10) if size * one >= rough) if rough >= 1 else 1
    lines = []
    value = step
    while value < most:
        top = 100 - 100 * value / most
        lines.append(f'<div class="grid" style="top:{top:.2f}%"></div><span class="y num" style="top:{top:.2f}%">{value:,g}</span>')
        value += step
    return "".join(lines)


def pareto(report: Report) -> str:
    """Return the causes of standstill, the longest first."""
    if not report.stops:
        return '<p class="soft">No downtimes.</p>'
    longest = max(one.seconds for one in report.stops) or 1.0
    rows = []
    for one in report.stops[:12]:
        bar = f'<i style="left:0;width:{100 * one.seconds / longest:.2f}%;background:{colour(one.category)}"></i>'
        words = f"{span(one.seconds)} · {one.times}&times;"
        rows.append(
            f'<div class="row"><span>{escape(one.cause)}</span><div class="bar">{bar}</div><span class="num soft">{words}</span></div>'
        )
    return f'<div class="rows">{"".join(rows)}</div>'


def waterfall(figures: Figures) -> str:
    """Return how the planned busy time becomes the time that good parts should have taken."""
    pbt = figures.pbt_s
    if pbt <= 0:
        return '<p class="soft">No planned busy time.</p>'
    steps = [("Planned busy time", 0.0, pbt, "var(--idle)"), ("&minus; not running", figures.apt_s, pbt, "var(--faulted)")]
    if figures.pri_s:
        should, good = figures.pri_s * figures.produced, figures.pri_s * figures.good
        steps += [("&minus; too slow", min(should, figures.apt_s), max(should, figures.apt_s), "var(--starved)")]
        steps += [("&minus; scrap", good, should, "var(--held)"), ("= good parts", 0.0, good, "var(--running)")]
    else:
        steps.append(("= running", 0.0, figures.apt_s, "var(--running)"))
    rows = []
    for name, low, high, paint in steps:
        left, width = max(0.0, 100 * low / pbt), min(100.0, 100 * abs(high - low) / pbt)
        bar = f'<i style="left:{left:.2f}%;width:{width:.2f}%;background:{paint}"></i>'
        rows.append(
            f'<div class="row"><span>{name}</span><div class="bar">{bar}</div><span class="num soft">{span(abs(high - low))} · {width:.1f} %</span></div>'
        )
    return f'<div class="rows">{"".join(rows)}</div>'
