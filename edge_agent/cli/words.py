"""How the commands write things for people: tables, sizes, ages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec

from edge_agent.model.instant import parse
from edge_agent.status.report import BufferReport


def plain(text: str) -> str:
    """Return ``text`` with control characters written out: what a PLC or a broker said does not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def many(count: int, noun: str) -> str:
    """Return ``1 record`` or ``1,234 records``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size(count: int) -> str:
    """Return bytes as ``1.5 MiB``."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{count} B"


def lasted(seconds: float) -> str:
    """Return ``12 s``, ``3 min``, ``5.2 h`` or ``3.1 d``."""
    for limit, divisor, unit, digits in ((120, 1, "s", 0), (7200, 60, "min", 0), (172_800, 3600, "h", 1)):
        if seconds < limit:
            return f"{max(0.0, seconds) / divisor:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def ago(text: str | None, now: float | None = None) -> str:
    """Return how long before now (s since 1970) an RFC 3339 instant was, ``-`` for none."""
    if text is None:
        return "-"
    return lasted((time.time() if now is None else now) - parse(text) / 1e9)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, columns wide enough for what is in them."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def json_text(report: object) -> str:
    """Return a report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def buffer_lines(report: BufferReport, now: float | None = None) -> Iterator[str]:
    """Yield what `buffer status` prints."""
    waiting = f"{many(report.waiting_events, 'event')}, {report.waiting_telemetry:,} telemetry"
    yield f"buffer   {report.path}"
    yield f"epoch    {report.epoch}"
    yield f"waiting  {waiting}; oldest {'-' if report.oldest is None else f'{report.oldest}, {ago(report.oldest, now)} ago'}"
    yield f"on disk  {size(report.bytes)}"
    if report.dropped:
        yield f"dropped  {many(report.dropped, 'undelivered record')} for want of room since the start; declared by collection.gap"
    if report.dead_letters:
        yield f"refused  {many(report.dead_letters, 'dead letter')}: edge-agent buffer dead-letters"
    if not report.healthy:
        yield f"TROUBLE  {plain(report.detail)}"
    confirming = any(each.confirmed is not None for each in report.streams)
    rows = [
        (
            each.stream if each.epoch == report.epoch else f"{each.stream} ({each.epoch})",
            f"{each.first}-{each.last}" if each.first <= each.last else "-",
            str(each.delivered),
            *(["-" if each.confirmed is None else str(each.confirmed)] * confirming),
            str(each.undelivered),
            each.oldest or "-",
        )
        for each in report.streams
    ]
    yield from table(("stream", "kept", "delivered", *["confirmed"] * confirming, "waiting", "oldest"), rows)
