"""Runs mapping tests: the real fold of the unit, fed by a plant that does what the script says. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from edge_agent.events.catalog import topics_of
from edge_agent.events.derive import Tick
from edge_agent.events.mescontext import DEVICE
from edge_agent.model.condition import CONDITION
from edge_agent.model.instant import parse
from edge_agent.model.reading import AgentDown, Recovered, Tag
from edge_agent.replay.derive import Player, event_line
from edge_agent.replay.line import Line
from edge_agent.replay.mapping import Happening, Script
from edge_agent.replay.plant import Plant, Sample
from edge_agent.replay.recording import Given
from edge_agent.replay.verdict import Came, Verdict, judge

_BLANK: dict[str, bool | str] = {"bool": False, "string": ""}
"""What a tag shows that nobody sets, by type; a number shows 0."""


def run(script: Script, line: Line) -> Verdict:
    """Play one test. Raises RuleError when a rule fails on it."""
    return judge(script, play(script, line))


def play(script: Script, line: Line) -> list[Came]:
    """Return the events and acknowledgements of one test, in the order of the stream."""
    unit = next(unit for unit in line.units if unit.unit == script.unit)
    named = topics_of(unit).tags
    alone = replace(line, units=(unit,), devices={**line.devices, DEVICE: named} if named else line.devices)
    player, plant = Player(alone, unit, settle=0), Plant(alone, script.start)
    came: list[Came] = []
    read = {device: alone.devices[device] for device in sorted(alone.readers(unit))}
    for given in _given(script, plant, read, unit.reorder):
        turn = player.away(given) if isinstance(given, AgentDown) else player.give(given)
        now = turn.state.last_seen
        came += [_came(event_line(event, unit.unit, now, line.prefix), line.prefix, script.start) for event in turn.events]
        came += [Came("acknowledge", now - script.start, {"tag": one.tag, "value": one.value}) for one in turn.effects]
    return came


def _came(text: bytes, prefix: str, start: int) -> Came:
    line: dict[str, Any] = msgspec.json.decode(text)
    name = line["type"].removeprefix(f"{prefix}.").removesuffix(".v1")
    extra: dict[str, Any] = {key: line[key] for key in ("correlationid", "causationid") if key in line}
    return Came(name, parse(line["time"]) - start, {**line["data"], **extra})


def _given(script: Script, plant: Plant, tags: Mapping[str, Sequence[Tag]], patience: int) -> Iterator[Given]:
    yield from _begin(script, plant, tags)
    for place, happening in enumerate(script.given):
        yield from plant.until(script.start + happening.at)
        yield from _at_once(happening, plant, script.start, begun=place == 0 and happening.at == 0)
    if patience:  # what still waits for older samples of another device
        yield from plant.until(script.start + script.given[-1].at + patience)
        yield Tick(script.start + script.given[-1].at + patience)
    yield from plant.end()


def _begin(script: Script, plant: Plant, tags: Mapping[str, Sequence[Tag]]) -> Iterator[Given]:
    """Connect to every device: the first read of it has all its tags; those that the test does not set show 0, false or an empty text."""
    first = script.given[0] if script.given[0].at == 0 else None
    for device, known in tags.items():
        own = script.plant.get(device, {}) | (dict(first.samples.get(device, {})) if first else {})
        blank = {tag.name: Sample(_BLANK.get(tag.type or "", 0)) for tag in known if tag.type != CONDITION}
        plant.preset(device, blank | own)
        if first is not None and device in first.line.boot:
            yield from plant.boot(device, first.line.boot[device])
        if first is None or device not in first.line.down:
            yield from plant.join(device)
    outside = script.plant.get(DEVICE, {}) | (dict(first.samples.get(DEVICE, {})) if first else {})
    if outside:
        yield from plant.show(DEVICE, outside)


def _at_once(happening: Happening, plant: Plant, start: int, *, begun: bool) -> Iterator[Given]:
    """Yield what one line brings: who goes is gone before the values change, who comes back finds the new ones.

    ``begun``: the connection has shown its values and boot counters already.
    """
    line = happening.line
    if line.agent in {"killed", "stopped"}:
        yield from plant.stop_agent(final=line.agent == "stopped")
    for device in line.down:
        yield from plant.cut(device)
    for device, boot in ({} if begun else line.boot).items():
        yield from plant.boot(device, boot)
    for device, samples in ({} if begun else happening.samples).items():
        yield from plant.show(device, samples, sampled=None if line.sampled is None else start + line.sampled)
    for device, rows in happening.history.items():
        told = Recovered(device, start + happening.at, tuple(dict.fromkeys(name for _, name, _ in rows)))
        yield from plant.history(device, [(start + at, name, sample) for at, name, sample in rows], [told])
    for device in line.up:
        yield from plant.join(device)
    if line.agent == "started":
        yield from plant.start_agent()
