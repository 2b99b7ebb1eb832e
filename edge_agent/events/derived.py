"""Derived tags: values calculated from others, for rules that want one (``derived:`` in a unit).

A derived tag belongs to the device of its inputs, and is named like any tag of it: ``device.name``. It has a sample whenever an input has
one and all the others are known; a bad input gives a bad sample. With ``same_read_as`` its inputs are read in one request whenever that
one changes, and only such reads give a value: two counters are never subtracted across reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge_agent.events.expression import Expression, UnusableError
from edge_agent.events.reference import check_references, device_of, name_of
from edge_agent.events.rule import NOTHING, Moment, Outcome, Phase, Rule
from edge_agent.events.sight import Plain, plain
from edge_agent.model.reading import AgentDown, DeviceDown, Gap, Notice, Quality, Reading, Tag, TagStatus
from edge_agent.ports import DeviceWiring, Trigger


class DeriveConfig(BaseModel):
    """One derived tag; the key above it is its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expr: str = Field(description="what is calculated, such as total - scrap or pressure_pa / 100000")
    tags: dict[str, str] = Field(
        default_factory=dict, description="the names in expr, as name: device.tag; counters of the unit have theirs"
    )
    same_read_as: str | None = Field(
        default=None, description="the name in expr whose change makes all of them be read in one request"
    )
    uom: str | None = Field(default=None, description="unit of the result, UNECE Rec 20")

    @field_validator("expr")
    @classmethod
    def _checked(cls, expr: str) -> str:
        Expression(expr)
        return expr


class Known(msgspec.Struct, frozen=True):
    """The last sample of an input: None is one without a usable value."""

    value: Plain = None
    quality: int = 0


class DerivedMemory(msgspec.Struct, frozen=True):
    """The last sample of each input, where the expression has several."""

    known: Mapping[str, Known] = msgspec.field(default_factory=dict)


class DerivedRule:
    """Gives a tag that no device has its samples."""

    phase = Phase.DERIVE
    ticks = False
    version = 1
    state_type = DerivedMemory

    def __init__(self, name: str, config: DeriveConfig, refs: Mapping[str, str]) -> None:
        """Calculate tag ``name`` from ``refs``, the tags by their name in the expression."""
        self.name = f"derived.{name}"
        self.tags = tuple(dict.fromkeys(refs.values()))
        self.fingerprint = f"{config.expr} {' '.join(f'{key}={ref}' for key, ref in sorted(refs.items()))}"
        self.ref = f"{device_of(self.tags[0])}.{name}"
        self._refs, self._expression = refs, Expression(config.expr)
        self._group = None if config.same_read_as is None else f"derived.{name}"

    def initial(self) -> DerivedMemory:
        """Nothing known."""
        return DerivedMemory()

    def step(self, state: DerivedMemory, moment: Moment) -> tuple[DerivedMemory, Outcome]:
        """Fold one moment: what is behind a loss is known no more; a value comes from what is known then."""
        known = {} if state.known and self._lost(moment.notices) else dict(state.known)
        rows = moment.readings if self._group is None else moment.snapshots.get(self._group, {})
        seen = {ref: rows[ref] for ref in self.tags if ref in rows}
        known |= {ref: _known(reading) for ref, reading in seen.items()}
        outcome = NOTHING
        if seen and len(known) == len(self.tags):
            outcome = Outcome(readings={self.ref: self._reading(known, max(seen.values(), key=lambda one: one.at.best))})
        if self._group is not None or len(self.tags) == 1:
            return state, outcome
        return (state if known == state.known else DerivedMemory(known)), outcome

    def _lost(self, notices: Iterable[Notice]) -> bool:
        device = device_of(self.ref)
        return any(isinstance(one, AgentDown) or (isinstance(one, DeviceDown) and one.device == device) for one in notices)

    def _reading(self, known: Mapping[str, Known], newest: Reading) -> Reading:
        bad = [ref for ref, one in known.items() if one.value is None]
        if bad:
            return Reading(self.ref, None, Quality.BAD, newest.at, f"{bad[0]} is bad")
        try:
            value = self._expression.value({name: known[ref].value for name, ref in self._refs.items()})
        except UnusableError as error:
            return Reading(self.ref, None, Quality.BAD, newest.at, f"{self._expression.text}: {error}")
        return Reading(self.ref, value, Quality(max(one.quality for one in known.values())), newest.at)


def _known(reading: Reading) -> Known:
    usable = reading.quality is not Quality.BAD and reading.value is not None
    return Known(plain(reading.value) if usable else None, int(reading.quality))


def widened(notices: tuple[Notice, ...], rules: Iterable[DerivedRule]) -> tuple[Notice, ...]:
    """Return ``notices`` so that what is said of an input by its name is said of the derived tag, too."""
    told: list[Notice] = []
    for notice in notices:
        own = [rule for rule in rules if isinstance(notice, Gap | TagStatus) and device_of(rule.ref) == notice.device]
        if isinstance(notice, Gap) and notice.tags:
            more = tuple(name_of(rule.ref) for rule in own if any(name_of(ref) in notice.tags for ref in rule.tags))
            told.append(replace(notice, tags=notice.tags + more))
            continue
        told.append(notice)
        if isinstance(notice, TagStatus):
            told += [replace(notice, name=name_of(rule.ref)) for rule in own if f"{notice.device}.{notice.name}" in rule.tags]
    return tuple(told)


# -- configuration -----------------------------------------------------------------------------------------------------------

Derived = Mapping[str, DeriveConfig]


def refs_of(config: DeriveConfig, counters: Mapping[str, str]) -> dict[str, str]:
    """Return the tags by their name in the expression. Raises ValueError, ``cause; remedy``, for a name that stands for nothing."""
    known = {**counters, **config.tags}
    names = Expression(config.expr).names
    if not names:
        raise ValueError(f"'{config.expr}' has no tag in it; name one, as in tags: {{total: device.tag}}")
    for name in names:
        if name not in known:
            raise ValueError(f"'{name}' stands for no tag; add it, as in tags: {{{name}: device.tag}}")
    return {name: known[name] for name in names}


def tags_of(derived: Derived, counters: Mapping[str, str], tags: Mapping[str, Tag]) -> dict[str, Tag]:
    """Return the derived tags by ``device.name``, as far as their expressions stand for tags; `build` tells what is wrong with the others."""
    found: dict[str, Tag] = {}
    for name, config in derived.items():
        try:
            refs = refs_of(config, counters)
        except ValueError:
            continue
        device = device_of(next(iter(refs.values())))
        periods = [tags[ref].period for ref in refs.values() if ref in tags]
        found[f"{device}.{name}"] = Tag(device, name, uom=config.uom, period=max(periods, default=0))
    return found


def clashes(calculated: Mapping[str, Tag], tags: Mapping[str, Tag], sampled: Iterable[str]) -> Iterator[str]:
    """Yield every derived tag whose name a device has already, or that is asked for as telemetry."""
    for ref in calculated:
        if ref in tags:
            yield f"derived.{name_of(ref)}: {device_of(ref)} has a tag of that name itself; call the derived one otherwise"
        if ref in sampled:
            yield f"telemetry.tags: '{ref}' is derived and cannot be sampled; publish its inputs"


def wired(derived: Derived, counters: Mapping[str, str], unit: str) -> Iterator[tuple[str, DeviceWiring]]:
    """Yield the trigger groups of what is read in one request."""
    for name, config in derived.items():
        try:
            refs = refs_of(config, counters)
        except ValueError:
            continue  # `build` tells it
        fires = refs.get(config.same_read_as or "")
        if fires is not None:
            group = Trigger(f"{unit}/derived.{name}", name_of(fires), tuple(dict.fromkeys(name_of(ref) for ref in refs.values())))
            yield device_of(fires), DeviceWiring((group,))


def build(
    config: DeriveConfig, *, unit: str, name: str, tags: Mapping[str, Tag], counters: Mapping[str, str], others: Iterable[str] = ()
) -> tuple[Rule[Any], ...]:
    """Return the rule of the derived tag ``name``; ``others`` are the derived tags of the unit.

    Raises ValueError for a name or tag that does not exist, inputs of several devices, and counters that are more than added up across reads.
    """
    where = f"unit {unit}, derived.{name}"
    if not name.isidentifier() or not name.isascii():
        raise ValueError(
            f"{where}: a derived tag's name has letters, digits and _ only; call it {''.join(c if c.isalnum() else '_' for c in name)}"
        )
    try:
        refs = refs_of(config, counters)
    except ValueError as error:
        raise ValueError(f"{where}.expr: {error}") from None
    if mixed := sorted(set(refs.values()) & set(others)):
        raise ValueError(f"{where}: '{mixed[0]}' is derived itself; write its expression out")
    check_references([(f"{where}.tags.{key}", ref) for key, ref in refs.items()], tags)
    devices = sorted({device_of(ref) for ref in refs.values()})
    if len(devices) > 1:
        raise ValueError(f"{where}: tags of {' and '.join(devices)}; a derived tag belongs to one device")
    if config.same_read_as is not None and config.same_read_as not in refs:
        raise ValueError(
            f"{where}.same_read_as: '{config.same_read_as}' does not stand in the expression; it has {', '.join(refs)}"
        )
    together = {key for key in Expression(config.expr).together if refs[key] in counters.values()}
    if len(together) > 1 and config.same_read_as is None:
        first = min(together)
        raise ValueError(
            f"{where}: counters of different reads are subtracted or compared; add same_read_as: {first}, so that they are read in one request"
        )
    return (DerivedRule(name, config, refs),)
