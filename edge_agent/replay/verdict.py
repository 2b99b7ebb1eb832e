"""Whether what came is what was expected, and how the difference reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from edge_agent.model.instant import MS, NS, parse
from edge_agent.model.quantity import duration
from edge_agent.replay.mapping import ExpectedEvent, Script

_QUIET = frozenset({"ctx", "ts", "q", "derivation", "late", "seq_from", "seq_to"})
"""Members that are shown only where they differ."""

_SHOWN = 6
"""Members shown of an event that nobody asked about."""


class Came(msgspec.Struct, frozen=True):
    """An event as it came: ``at`` in ns after the start; ``data`` are its members."""

    event: str
    at: int
    data: Mapping[str, Any]

    def __str__(self) -> str:
        """Return it on one line, without what is empty."""
        shown = {key: value for key, value in self.data.items() if key not in _QUIET and value not in (None, [], {}, "")}
        members = ", ".join(f"{key}: {_text(value)}" for key, value in list(shown.items())[:_SHOWN])
        return f"{seconds(self.at):>9}  {self.event}  {members}{', ...' if len(shown) > _SHOWN else ''}"


class Verdict(msgspec.Struct, frozen=True):
    """How a test went: the lines of its report, none when it passed, and which events were the expected ones."""

    script: Script
    report: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.report


def judge(script: Script, came: Sequence[Came]) -> Verdict:
    """Compare what came with what a test expects."""
    test, found, after, lines = script.test, dict[int, int](), 0, list[str]()
    for place, expected in enumerate(test.expect):
        hit = next((at for at in range(after, len(came)) if not _misses(expected, came[at], script.start)), None)
        if hit is None:
            lines += _missing(expected, script.expect_lines[place], came, after, script.start)
        else:
            found[hit], after = script.expect_lines[place], hit + 1
    for at, event in enumerate(came):
        if at not in found and (test.only is True or (isinstance(test.only, list) and event.event in test.only)):
            lines.append(f"  not expected, and {'only' if test.only is True else f'only: [{event.event}]'} says so:")
            lines.append(f"    {event}")
    for place, unwanted in enumerate(test.none):
        pattern = ExpectedEvent(event=unwanted) if isinstance(unwanted, str) else unwanted
        for event in came:
            if not _misses(pattern, event, script.start):
                lines += [f"  line {script.none_lines[place]}: must not come, and came:", f"    {event}"]
    if lines:
        lines.append("  what came:" if came else "  nothing came")
        lines += [f"  {f'line {found[at]}' if at in found else '':>9} {event}" for at, event in enumerate(came)]
    return Verdict(script, tuple(lines))


def seconds(ns: int) -> str:
    """Return a time after the start as people write it."""
    return f"{ns / NS:.3f}".rstrip("0").rstrip(".") + "s"


def _missing(expected: ExpectedEvent, line: int, came: Sequence[Came], after: int, start: int) -> Iterator[str]:
    """Yield why an expected event is not there: what came instead of it."""
    yield f"  line {line}: did not come{' behind the events before it' if after else ''}: {_pattern(expected)}"
    earlier = next((one for one in came[:after] if not _misses(expected, one, start)), None)
    if earlier is not None:
        yield f"    it came before them, at {seconds(earlier.at)}"
        return
    same = [one for one in came if one.event == expected.event]
    if not same:
        yield f"    no {expected.event} came at all"
        return
    nearest = min(same, key=lambda one: (len(_misses(expected, one, start)), abs(one.at - (expected.at or one.at))))
    yield f"    the nearest is {nearest.event} at {seconds(nearest.at)}, with"
    for member, wanted, was in _misses(expected, nearest, start):
        yield f"    - {member}: {wanted}"
        yield f"    + {member}: {was}"


def _misses(expected: ExpectedEvent, came: Came, start: int) -> list[tuple[str, str, str]]:
    """Return the members that differ: (name, expected, as it was)."""
    if expected.event != came.event:
        return [("event", expected.event, came.event)]
    misses = []
    if expected.at is not None and abs(expected.at - came.at) >= MS:
        misses.append(("at", seconds(expected.at), seconds(came.at)))
    for path, wanted in (expected.model_extra or {}).items():
        there, value = _member(came.data, path)
        if (not there and wanted is not None) or not _equal(wanted, value, start):  # what is not there is null
            misses.append((path, _text(wanted), _text(value) if there else "(there is no such member)"))
    return misses


def _member(data: Any, path: str) -> tuple[bool, Any]:
    if isinstance(data, Mapping) and path in data:
        return True, data[path]
    for step in path.split("."):
        if not isinstance(data, Mapping) or step not in data:
            return False, None
        data = data[step]
    return True, data


def _equal(wanted: Any, was: Any, start: int) -> bool:
    """Tables need only have what is wanted; numbers may stand as texts; a text that is an instant may be given as a time after the start."""
    if isinstance(wanted, dict):
        return isinstance(was, Mapping) and all(key in was and _equal(one, was[key], start) for key, one in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(was, list) and len(wanted) == len(was) and all(_equal(a, b, start) for a, b in zip(wanted, was, strict=True))
        )
    if isinstance(wanted, bool) or isinstance(was, bool) or wanted is None or was is None:
        return wanted is was
    if isinstance(wanted, int | float) and isinstance(was, int | float):
        return abs(wanted - was) <= 1e-9 * max(1.0, abs(wanted))
    if isinstance(was, str) and isinstance(wanted, str) and was != wanted:
        return _same_instant(wanted, was, start)
    return str(wanted) == str(was)


def _same_instant(wanted: str, was: str, start: int) -> bool:
    try:
        return abs(parse(was) - start - duration(wanted)) < MS
    except ValueError:
        return False


def _pattern(expected: ExpectedEvent) -> str:
    members = {"at": seconds(expected.at)} if expected.at is not None else {}
    members |= expected.model_extra or {}
    return "{" + ", ".join([f"event: {expected.event}", *(f"{key}: {_text(value)}" for key, value in members.items())]) + "}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
