"""The rules of a work unit: the one place where every kind of rule is registered. What users write is in unitconfig.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from edge_agent.events import alarm, context, counter, derived, downtime, energy, gap, production, quality, shift, state, suspect
from edge_agent.events.condition import ConditionRule
from edge_agent.events.derive import OUTSIDE_WAIT, SETTLE, Fold
from edge_agent.events.follow import Neighbours
from edge_agent.events.gap import GapConfig
from edge_agent.events.keyframe import SnapshotRule
from edge_agent.events.mescontext import DEVICE, Topics
from edge_agent.events.order import Silenced
from edge_agent.events.reference import device_of
from edge_agent.events.rule import Rule
from edge_agent.events.shift import Calendar
from edge_agent.events.unitconfig import UnitConfig
from edge_agent.model.condition import CONDITION
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Tag
from edge_agent.ports import DeviceWiring

__all__ = ["UnitConfig", "fold_of", "inputs", "rules_of", "topics_of", "wiring_of"]

Rules = tuple[Rule[Any], ...]


def rules_of(config: UnitConfig, *, tags: Mapping[str, Tag], calendar: Calendar | None = None) -> Rules:
    """Return the rules of a unit in the order of their phases; ``tags`` are all tags of the agent by ``device.tag``.

    Raises ConfigError with every problem, one a line: unknown tags with what was probably meant, and what the rules themselves refuse.
    """
    calculated = derived.tags_of(config.derived, _registers(config), tags)
    problems = [*derived.clashes(calculated, tags, config.telemetry.tags if config.telemetry else ())]
    tags = {**tags, **{tag.ref: tag for tag in topics_of(config).tags}, **calculated}
    problems += [_unknown(ref, config, tags) for ref in sorted(inputs(config) - tags.keys())]
    problems += _namesakes(config)
    rules: list[Rule[Any]] = []
    if not problems:
        for build in _parts(config, tags):
            try:
                rules += build()
            except (ValueError, ConfigError) as error:
                problems.append(str(error))
        problems += _misread(config, tags, rules)
        try:
            rules += _gap(config, tags, rules)
        except (ValueError, ConfigError) as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    if calendar is not None:
        rules += shift.build(calendar)
    rules.append(SnapshotRule(counters=config.counters, state=config.state is not None))
    return tuple(sorted(rules, key=lambda rule: rule.phase))


def inputs(config: UnitConfig) -> set[str]:
    """Return every tag of devices that the unit names, as ``device.tag``, known or not."""
    asked = _Anything()
    refs: set[str] = set()
    for build in _parts(config, asked):
        try:
            refs.update(ref for rule in build() for ref in rule.tags)
        except (ValueError, ConfigError):
            continue  # `rules_of` tells it
    if config.telemetry is not None:
        refs.update(config.telemetry.tags)
    for device, wired in _wired(config):
        refs.update(f"{device}.{name}" for name in (*wired.acknowledge, *_read_by(wired)))
    calculated = derived.tags_of(config.derived, _registers(config), {})
    return {ref for ref in (refs | asked.named) - calculated.keys() if device_of(ref) != DEVICE}


def topics_of(config: UnitConfig) -> Topics:
    """Return the topics that name the context of a unit."""
    return config.context.topics if config.context is not None else Topics()


def wiring_of(config: UnitConfig) -> dict[str, DeviceWiring]:
    """Return what the unit asks of each device: trigger groups (``unit/name``), the tags that may be acknowledged, and what is read at changes of context."""
    wiring: dict[str, DeviceWiring] = {}
    for device, wired in chain(_wired(config), _bounded(config)):
        wiring[device] = wiring.get(device, DeviceWiring()).also(wired)
    return wiring


def fold_of(
    config: UnitConfig,
    *,
    devices: Mapping[str, Sequence[Tag]],
    calendar: Calendar | None = None,
    prefix: str = "edgeagent",
    cfg: str = "",
    settle: int = SETTLE,
    outside: int = OUTSIDE_WAIT,
) -> Fold:
    """Return the fold of a unit over ``devices`` (the tags of each in the order that batches index). Raises ConfigError."""
    tags = {tag.ref: tag for known in devices.values() for tag in known}
    used = {ref.partition(".")[0] for ref in inputs(config)}
    mes = {DEVICE: topics_of(config).tags} if topics_of(config).tags else {}
    return Fold(
        config.unit,
        rules_of(config, tags=tags, calendar=calendar),
        {device: known for device, known in devices.items() if device in used} | mes,
        telemetry=config.telemetry,
        prefix=prefix,
        cfg=cfg,
        calendar=calendar,
        grids=sorted({meter.every for meter in config.energy.values()}),
        reorder=config.reorder,
        settle=settle,
        outside=outside,
    )


def _parts(config: UnitConfig, tags: Mapping[str, Tag]) -> Iterator[Callable[[], Rules]]:
    """Yield how each part of the unit is built, so that one that fails does not hide the others."""
    unit, order = config.unit, config.context.refs.get("order") if config.context else None
    context_tags = _context_tags(config)
    modes = state.modes_of(config.state) if config.state else None
    if config.context is not None:
        yield partial(_context, config, tags)
    for name, one in config.counters.items():
        yield partial(counter.build, one, unit=unit, name=name, tags=tags, context_tags=context_tags, modes=modes)
    for name, meter in config.energy.items():
        yield partial(energy.build, meter, unit=unit, name=name, tags=tags, context_tags=context_tags)
    if config.state is not None:
        yield partial(state.build, config.state, unit=unit, tags=tags)
        yield partial(downtime.build, config.downtime, config.state, unit=unit, tags=tags, order=order)
    elif config.downtime is not None:
        yield partial(_refuse, f"unit {unit}, downtime: there is no state to derive it from; add state: {{tag: device.tag}}")
    for name, entry in config.alarms.items():
        yield partial(alarm.build, entry, unit=unit, name=name, tags=tags)
    for name, record in config.records.items():
        yield partial(quality.build, record, unit=unit, name=name, tags=tags)
    registers = _registers(config)
    states = config.state.signals if config.state else ()
    for name, doubt in config.plausibility.items():
        yield partial(suspect.build, doubt, unit=unit, name=name, tags=tags, counters=registers, states=states)
    watched = (config.state.mode, config.state.tag) if config.state else (None, None)
    yield from production.parts(config, unit, tags, Neighbours(registers, context_tags, modes, *watched))


def _context(config: UnitConfig, tags: Mapping[str, Tag]) -> Rules:
    """Return the rule of the context; where the life of orders is told by another rule, it tells none."""
    assert config.context is not None  # noqa: S101 - built only where there is one
    rules: Rules = context.build(config.context, unit=config.unit, name="context", tags=tags)
    return rules if config.orders is None else tuple(Silenced(rule) for rule in rules)


def _gap(config: UnitConfig, tags: Mapping[str, Tag], rules: Sequence[Rule[Any]]) -> Rules:
    """Return the rule that declares losses of everything that the other rules listen to."""
    registers = _registers(config) | {meter.label: meter.tag for meter in config.energy.values()}
    calculated = derived.tags_of(config.derived, _registers(config), {})
    heard = {
        ref for rule in rules for ref in rule.tags if device_of(ref) != DEVICE and ref not in calculated
    }  # a broker that is away hides no machine
    sampled = config.telemetry.tags if config.telemetry is not None else ()
    settings = GapConfig(stale_after=config.stale_after)
    return gap.build(settings, unit=config.unit, tags=tags, counters=registers, inputs=heard, sampled=sampled)


def _misread(config: UnitConfig, tags: Mapping[str, Tag], rules: Sequence[Rule[Any]]) -> Iterator[str]:
    """Yield every place where an alarm source is taken for a variable."""
    readers = [(rule.name, ref) for rule in rules if not isinstance(rule, ConditionRule) for ref in rule.tags]
    readers += [("telemetry.tags", ref) for ref in (config.telemetry.tags if config.telemetry else ())]
    for name, ref in readers:
        if ref in tags and tags[ref].type == CONDITION:
            yield f"unit {config.unit}, {name}: '{ref}' is an alarm source and has no value; name it as conditions under alarms"


def _namesakes(config: UnitConfig) -> Iterator[str]:
    """Yield the meters whose totals could not be told from another register's."""
    known = set(config.counters)
    for name, meter in config.energy.items():
        if meter.label in known:
            yield f"unit {config.unit}, energy.{name}: there is a '{meter.label}' already, and totals go by that name; give this one a meter: name of its own"
        known.add(meter.label)


def _registers(config: UnitConfig) -> dict[str, str]:
    return {name: one.tag for name, one in config.counters.items()}


def _refuse(text: str) -> Rules:
    raise ConfigError(text)


def _context_tags(config: UnitConfig) -> dict[str, str]:
    """Return the tags that name order, product, lot and mode: where a context ends, counters close their interval."""
    named = dict(config.context.refs) if config.context else {}
    return named | {"mode": config.state.mode} if config.state and config.state.mode else named


def _wired(config: UnitConfig) -> Iterator[tuple[str, DeviceWiring]]:
    for name, record in config.records.items():
        device, trigger = quality.trigger(record, name=name)
        mine = msgspec.structs.replace(trigger, name=f"{config.unit}/{trigger.name}")  # two units may share a device and a name
        yield device, DeviceWiring((mine,), quality.acknowledge_tags(record))
    yield from production.wired(config, config.unit, _registers(config))


def _bounded(config: UnitConfig) -> Iterator[tuple[str, DeviceWiring]]:
    """Yield the tags that name what is being made, and those that count it."""
    calculated = config.derived.keys()
    for ref in {*_context_tags(config).values()} - calculated:
        if device_of(ref) != DEVICE:
            yield device_of(ref), DeviceWiring(boundary=frozenset({ref.partition(".")[2]}))
    for ref in {*_registers(config).values(), *(meter.tag for meter in config.energy.values())} - calculated:
        yield device_of(ref), DeviceWiring(counted=frozenset({ref.partition(".")[2]}))


def _read_by(wired: DeviceWiring) -> Iterator[str]:
    for trigger in wired.triggers:
        yield trigger.trigger
        yield from trigger.tags


def _unknown(ref: str, config: UnitConfig, tags: Mapping[str, Tag]) -> str:
    near = get_close_matches(ref, tags, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "tags are named device.tag"
    return f"unit {config.unit}: no device has a tag '{ref}'; {hint}"


class _Anything(Mapping[str, Tag]):
    """Tags as a unit imagines them: every name exists, and is remembered."""

    def __init__(self) -> None:
        self.named: set[str] = set()

    def __getitem__(self, ref: str) -> Tag:
        self.named.add(ref)
        device, _, name = ref.partition(".")
        return Tag(device, name, acknowledge=True)

    def __contains__(self, ref: object) -> bool:
        self.named.add(str(ref))
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)
