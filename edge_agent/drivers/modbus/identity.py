"""Is it still the same device? A check of who answers, before any value of a device is believed.

It is made on each new connection, after the device left a request unanswered, after its peer closed the connection, after a while without
any answer, and periodically: whoever exchanges a device takes it off the line first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from edge_agent.drivers.modbus import identification
from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.decode import Decoder
from edge_agent.drivers.modbus.plan import Block, plan
from edge_agent.drivers.modbus.trust import Identity
from edge_agent.drivers.modbus.wire import CONFIGURATION, RefusedError, Reply, SilentError
from edge_agent.model.instant import NS
from edge_agent.model.reading import Value

REMEDY = "bring the right device back; if this one is to stay, compare its registers with the tags and then correct identity"

_UNOBSERVED = 2.0
"""Machine seconds without an answer in which a device could have been exchanged and nobody had noticed."""


class StrangerError(Exception):
    """Another device answers; nothing that it says may be used."""


class Check:
    """The check of one device's identity, and when it is due."""

    def __init__(self, config: ModbusConfig, identity: Identity) -> None:
        """Compile the request; nothing is known yet of who answers."""
        self._right = identity.right
        self._objects = identity.objects
        self._every = identity.every / NS
        self._checked: float | None = None
        self._seen = 0.0
        self._block: Block | None = None
        if identity.register_ is not None:
            alone = config.model_copy(update={"tags": {"identity": identity.register_}})
            self._block = plan(fields_of(alone), config.limits)[0]
            self._decoder = Decoder(self._block)

    def doubt(self) -> None:
        """Check before the next value is used."""
        self._checked = None

    def answered(self, now: float) -> None:
        """Take note that the device answered at machine time ``now``."""
        self._seen = now

    def due(self, now: float) -> bool:
        """Whether to check before what is read at machine time ``now``."""
        return self._checked is None or now - self._checked >= self._every or now - self._seen > _UNOBSERVED

    async def verify(
        self, ask: Callable[[Block], Awaitable[Reply]], identify: Callable[[tuple[int, int]], Awaitable[bytes]], now: float
    ) -> None:
        """Ask who answers; ``identify`` takes category and first object of function 43/14. Raises StrangerError, or SilentError where nothing can be said now."""
        self._checked = None
        try:
            if self._block is not None:
                self._compare(self._decoder.samples((await ask(self._block)).raw)[0][0], self._block.name)
            if self._objects:
                self._compare_objects(await _all_objects(identify, identification.category(self._objects)))
        except RefusedError as refusal:
            if refusal.code in CONFIGURATION:
                raise StrangerError(f"it refuses to say who it is: {refusal}") from refusal
            raise SilentError(f"it does not say who it is: {refusal}", clean=True) from refusal
        self._checked = self._seen = now

    def _compare(self, value: Value | None, where: str) -> None:
        if value not in self._right:
            raise StrangerError(f"{where} says {value!r} instead of {' or '.join(map(repr, self._right))}")

    def _compare_objects(self, said: Mapping[int, str]) -> None:
        for number, text in self._objects.items():
            if said.get(number) != text:
                raise StrangerError(f"identification object {number} is {said.get(number)!r} instead of {text!r}")


async def _all_objects(identify: Callable[[tuple[int, int]], Awaitable[bytes]], category: int) -> dict[int, str]:
    """Ask until the device says that this was all; an answer that does not go on is the last."""
    found: dict[int, str] = {}
    first: int | None = 0
    while first is not None and (not found or first > max(found)):
        some, first = identification.objects(await identify((category, first)))
        found |= some
        if not some:
            break
    return found
