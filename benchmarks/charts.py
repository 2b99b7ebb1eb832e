"""Charts as SVG, drawn by hand: bars with their spread, and points with a line through them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_INK, _BAR, _MARK = "#333", "#4a7fb5", "#c0392b"
_WIDE, _LEFT, _ROW = 720, 290, 24


def charts(result: dict[str, Any], folder: Path) -> None:
    """Write the charts of a result."""
    folder.mkdir(exist_ok=True)
    lines = [one for one in result.get("lines", ()) if one["us"]]
    (folder / "cost.svg").write_text(
        bars("CPU microseconds a sample (a value looked at in e1, e2); mark: target on this machine", [
            (f"{one['key']} {one['title']}", one["us"], one["target"] * one["slowness"] if one["target"] else None) for one in lines
        ])
    )  # fmt: skip
    (folder / "memory.svg").write_text(
        bars("memory of the agent, MB", [(f"{one['key']} {one['title']}", one["rss"], None) for one in result.get("lines", ())])
    )
    if "slopes" in result:
        (folder / "slope.svg").write_text(scatter("percent of a core against samples a second", result["slopes"]))


def bars(title: str, rows: list[tuple[str, dict[str, float], float | None]]) -> str:
    """Return bars of medians with a line from least to most."""
    top = max([figure["max"] for _, figure, _ in rows] + [mark or 0.0 for *_, mark in rows], default=1.0) or 1.0
    scale = (_WIDE - _LEFT - 70) / top
    parts = []
    for place, (name, figure, mark) in enumerate(rows):
        y = 40 + place * _ROW
        width, least, most = (figure[key] * scale for key in ("median", "min", "max"))
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="15" fill="{_BAR}"/>')
        parts.append(_line(_LEFT + least, y + 7.5, _LEFT + most, y + 7.5, _INK))
        if mark:
            parts.append(_line(_LEFT + mark * scale, y - 2, _LEFT + mark * scale, y + 17, _MARK))
        parts.append(f'<text x="{_LEFT + most + 5:.1f}" y="{y + 12}">{figure["median"]:.1f}</text>')
    return _svg(title, 50 + len(rows) * _ROW, parts)


def scatter(title: str, slopes: dict[str, Any]) -> str:
    """Return the points of each series and its line."""
    points = [point for slope in slopes.values() for point in slope["points"]]
    right, top = max(x for x, _ in points) or 1.0, max(y for _, y in points) or 1.0
    across, up = (_WIDE - 120) / right, 260 / top
    parts = [_line(60, 310, _WIDE - 60, 310, _INK), _line(60, 310, 60, 50, _INK)]
    parts.append(f'<text x="{_WIDE - 60}" y="328" text-anchor="end">{right:,.0f} samples/s</text>')
    parts.append(f'<text x="64" y="48">{top:.1f} % of a core</text>')
    for (name, slope), colour in zip(slopes.items(), (_BAR, _MARK), strict=False):
        parts += [f'<circle cx="{60 + x * across:.1f}" cy="{310 - y * up:.1f}" r="3" fill="{colour}"/>' for x, y in slope["points"]]
        end = slope["base"] + slope["us"] / 1e4 * right
        parts.append(_line(60, 310 - slope["base"] * up, 60 + right * across, 310 - end * up, colour))
        y = 70 if colour == _BAR else 88
        parts.append(
            f'<text x="90" y="{y}" fill="{colour}">against {name}: {slope["us"]:.2f} us a sample, R2 {slope["r2"]:.3f}</text>'
        )
    return _svg(title, 340, parts)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1.5"/>'


def _svg(title: str, height: int, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{height}" font-family="sans-serif" font-size="12">'
    ground = f'<rect width="{_WIDE}" height="{height}" fill="white"/><text x="12" y="22" font-size="14">{escape(title)}</text>'
    return "\n".join([head, ground, *parts, "</svg>", ""])
