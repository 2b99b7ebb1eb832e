"""Which context a difference belongs to, when it is not sure.

Counts are folded before the context of their moment, so a difference belongs to the context that ends there. Behind a loss the context may
have changed unseen, and between two samples it may have changed in sight (`crossing.py`), anywhere in the interval: such a
difference is booked to no order (lot, mode, shift), and the candidates are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edge_agent.events.rule import Moment
from edge_agent.model.event import NO_CONTEXT, Context
from edge_agent.model.reading import Quality, Value


class Place(msgspec.Struct, frozen=True):
    """The context at an instant, with the mode's number beside its name, and whether that is a mode of production."""

    ctx: Context = NO_CONTEXT
    mode_code: int | None = None
    production: bool = True

    @property
    def owns(self) -> Context:
        """The context that parts made here belong to: what a machine makes outside production is not the order's."""
        return self.ctx if self.production else msgspec.structs.replace(self.ctx, order=None)


class Modes(msgspec.Struct, frozen=True):
    """The modes of a unit: their ``names`` by code, and the codes of those that are ``production``."""

    names: Mapping[int, str] = msgspec.field(default_factory=dict)
    production: frozenset[int] = frozenset()

    def name(self, code: int) -> str:
        """Return the name that events give a mode."""
        return self.names.get(code, f"code {code}")


def before_loss(moment: Moment, last: Place) -> Place:
    """Return the context before a loss that this moment tells of: its shift is that of the ``last`` place that was surely seen.

    Shift boundaries are crossed by the clock, also those that passed unseen, before the loss itself is told.
    """
    picture = moment.picture
    return Place(msgspec.structs.replace(picture.context, shift=last.ctx.shift), picture.mode_code, picture.production)


def read(moment: Moment, tags: Mapping[str, str], modes: Modes | None = None) -> Place:
    """Return the context as this moment's readings of ``tags`` (context key -> ``device.tag``) give it, before its rule was folded.

    ``modes`` None: what is booked belongs to its order in every mode.
    """
    ctx, mode = moment.picture.context, moment.picture.mode_code
    production = modes is None or moment.picture.production
    changes: dict[str, str | None] = {}
    for key, ref in tags.items():
        reading = moment.readings.get(ref)
        if reading is None or reading.quality is Quality.BAD:
            continue
        if key != "mode":
            changes[key] = named(reading.value)
        elif reading.value != mode and isinstance(reading.value, int):
            mode, changes["mode"] = reading.value, str(reading.value) if modes is None else modes.name(reading.value)
            production = modes is None or reading.value in modes.production
    return Place(msgspec.structs.replace(ctx, **changes) if changes else ctx, mode, production)


def named(value: Value | None) -> str | None:
    """Return an order, product or lot as the context rule names it: None for what PLCs write when there is none."""
    if value is None or value is False or (isinstance(value, int | float) and value == 0):
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.strip("\0 \t\r\n") or None


class Bounds(msgspec.Struct, frozen=True):
    """The contexts around a difference: with the ``last`` sample, before a loss (``lost``), and as found ``here``, with the new sample."""

    last: Place
    lost: Place
    here: Place

    def owner(
        self, now: Place, *, recovered: bool, stamped: bool, across: Sequence[Place] = ()
    ) -> tuple[Context, dict[str, list[str | None]]]:
        """Return the context of a difference that ends in ``now``, and the candidates of each member that is not sure.

        ``stamped`` = the sample carries its own time. One that does not is as old as its read request: the first one behind a shift
        boundary is the read that was asked for at the boundary, and what it counts was made before. ``across`` are the contexts, in their
        order, that a difference lies across although nothing was lost; shifts are no part of that, for they are read for.
        """
        if recovered:
            candidates = _candidates([self.lost, *across, self.here])
            return msgspec.structs.replace(now.owns, **dict.fromkeys(candidates)), candidates
        candidates = {key: names for key, names in _candidates(across).items() if key != "shift"}
        owner = msgspec.structs.replace(now.owns, **dict.fromkeys(candidates))
        if not stamped and self.last.ctx.shift is not None:
            owner = msgspec.structs.replace(owner, shift=self.last.ctx.shift)
        return owner, candidates


def _candidates(places: Sequence[Place]) -> dict[str, list[str | None]]:
    """Return, of each member of the context in which ``places`` differ, what it was, in their order."""
    owns = [msgspec.structs.asdict(place.owns) for place in places]
    named = {key: list(dict.fromkeys(own[key] for own in owns)) for key in (owns[0] if owns else ())}
    return {key: names for key, names in named.items() if len(names) > 1}
