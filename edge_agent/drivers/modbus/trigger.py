"""Trigger groups: when one tag changes, others are read with it in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge_agent.drivers.modbus.decode import Decoder, Sample
from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Block, Limits, one_block
from edge_agent.drivers.modbus.twice import NONE, UNSTEADY
from edge_agent.drivers.modbus.watch import Watch
from edge_agent.model.errors import ConfigError
from edge_agent.model.reading import Quality, Value
from edge_agent.ports import Trigger

_NEVER: Final = object()


class Group:
    """One trigger group of a device and the trigger value it last fired for.

    ``block`` is the request that reads it, or None when the poll of the trigger already holds all its tags: then that reply is the
    snapshot, taken at the very instant of the trigger.
    """

    def __init__(self, name: str, trigger: int, watch: Watch, fields: Sequence[Field], block: Block | None) -> None:
        """``trigger`` is the index of the trigger tag, which ``watch`` polls; ``fields`` are in the order of the group."""
        self.name = name
        self.watch = watch
        self.block = block
        self.refused: str | None = None
        self.ask_again = 0
        self.fields = tuple(fields)
        self._trigger = trigger
        self._decoder = None if block is None else Decoder(block)
        self._fired: object = _NEVER
        self._value: Value | None = None

    @classmethod
    def of(cls, device: str, trigger: Trigger, fields: Sequence[Field], watches: Sequence[Watch], limits: Limits) -> Group:
        """Find or plan the one request; raises ConfigError, in words for the user, when there is none."""
        by_name = {field.name: field for field in fields}
        unknown = [name for name in (trigger.trigger, *trigger.tags) if name not in by_name]
        if unknown or not trigger.tags:
            raise ConfigError(
                f"{device}: group {trigger.name} needs tags that the device does not have: {', '.join(unknown) or '(none given)'}"
            )
        members = [by_name[name] for name in trigger.tags]
        source = by_name[trigger.trigger]
        watch = next(watch for watch in watches if source in watch.block.fields)
        if all(field in watch.block.fields for field in members):
            return cls(trigger.name, source.index, watch, members, None)
        try:
            block = one_block(members, limits)
        except ValueError as error:
            raise ConfigError(f"{device}: group {trigger.name} must be read in one request, but {error}") from error
        return cls(trigger.name, source.index, watch, members, block)

    def read_apart(self, limits: Limits) -> Block:
        """Read the group by a request of its own from now on: the device does not answer the block that holds it whole. Returns that request."""
        if self.block is None:
            self.block = one_block(self.fields, limits)
            self._decoder = Decoder(self.block)
        return self.block

    def due(self) -> bool:
        """Whether the trigger has a good value that the group has not been read for."""
        sample = self.watch.last(self._trigger)
        if sample is None or sample[1] is Quality.BAD or sample[0] == self._fired:
            return False
        self._value = sample[0]
        return True

    def samples(self, raw: bytes | None, unsteady: frozenset[int] = NONE) -> list[tuple[int, Sample]]:
        """Return index and sample of each tag, from the answer to ``block`` or, without one, from the poll that triggered; marks it as read.

        ``unsteady`` are the places of tags that the answer has no value of.
        """
        self._fired = self._value
        if self._decoder is None or raw is None:
            polled = self.watch.samples()
            return [(field.index, polled[field.index]) for field in self.fields]
        decoded = zip(self.fields, self._decoder.samples(raw), strict=True)
        return [(field.index, UNSTEADY if place in unsteady else sample) for place, (field, sample) in enumerate(decoded)]

    def forget(self) -> None:
        """Read the group at the next poll again: what was read did not arrive."""
        self._fired = _NEVER
