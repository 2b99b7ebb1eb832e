"""What the planned polls of the devices behind one connection ask of it, and whether its time is enough (pure).

One request is under way at a time, and a poll of a device is not interrupted. So the polls hold when together they need less than all the time,
and no poll has to wait for another one so long that its own next one is due.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Sequence

import msgspec

from edge_agent.drivers.modbus.breaker import SHARE, Breaker
from edge_agent.drivers.modbus.bus import ANSWER
from edge_agent.drivers.modbus.config import ModbusConfig, fields_of
from edge_agent.drivers.modbus.connection import endpoint, link
from edge_agent.drivers.modbus.plan import Block, plan
from edge_agent.drivers.modbus.steps import Steps
from edge_agent.model.instant import NS
from edge_agent.model.quantity import duration_text


class Poll(msgspec.Struct, frozen=True):
    """The poll of one device at one period (ns): its requests, their bytes both ways, and the seconds that it keeps the connection busy."""

    device: str
    unit_id: int
    period: int
    tags: int
    requests: int
    bytes: int
    seconds: float
    blocks: tuple[str, ...]

    @property
    def share(self) -> float:
        """The part of the connection's time that it needs."""
        return self.seconds / (self.period / NS)


class Dead(msgspec.Struct, frozen=True):
    """What the others pay while the unit ``device``, the one with the longest timeout, is dead.

    Once, until it is given up: its ``timeout``, a shorter wait to ``confirm`` it, and after each the silence (``drain``) that a line whose answers have no
    numbers must show before it is believed again, all in seconds. Then the part ``share`` of the connection's time for its probes.
    """

    device: str
    timeout: float
    confirm: float
    drain: float
    share: float

    @property
    def once(self) -> float:
        """All seconds until it is given up."""
        return self.timeout + self.confirm + self.drain

    @property
    def longest(self) -> float:
        """The most seconds of that at one go; both waits are polls of their own, a period of the dead unit apart."""
        return self.timeout + self.drain / 2


class Load(msgspec.Struct, frozen=True):
    """One connection with all devices behind it; ``answer`` is the time (ns) that each answer is taken to need besides its bytes."""

    endpoint: str
    line: str | None
    answer: int
    polls: tuple[Poll, ...]
    dead: Dead | None

    @property
    def share(self) -> float:
        """The part of the connection's time that is needed; above 1 the polls cannot hold."""
        return sum(poll.share for poll in self.polls)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the periods cannot hold, with the remedy behind a semicolon; nothing when they can."""
        if (share := self.share) > 1:
            longer = math.ceil(share * 10) / 10
            remedy = f"make their periods at least {longer:g} times as long, poll fewer tags as often, or raise baud where the devices allow it"
            return (f"{self.endpoint}: the polls need {share:.0%} of the connection's time; {remedy}",)
        return tuple(self._late())

    def _late(self) -> Iterator[str]:
        for poll in self.polls:
            other = max((each for each in self.polls if each is not poll), key=lambda each: each.seconds, default=None)
            wait = other.seconds if other is not None else 0.0
            if other is not None and wait + poll.seconds > poll.period / NS:
                yield (
                    f"{self.endpoint}: {poll.device} is polled every {duration_text(poll.period)}, but one poll of {other.device} takes {wait:.2f} s in "
                    f"one go; make that period at least {wait + poll.seconds:.2f} s, or give {other.device} fewer tags or a connection of its own"
                )


def loads(configs: Sequence[ModbusConfig], answer: int = ANSWER) -> list[Load]:
    """Return the load of every connection that ``configs`` need, in their order; ``answer`` ns is what each answer takes besides its bytes."""
    shared: dict[Hashable, list[ModbusConfig]] = {}
    for config in configs:
        shared.setdefault(link(config, config.device), []).append(config)
    return [_load(devices, answer) for devices in shared.values()]


def _load(configs: Sequence[ModbusConfig], answer: int) -> Load:
    bus = configs[0].bus
    line = None if bus.line is None else f"{bus.line.baud} baud{'' if bus.framing != 'tcp' else ' behind the gateway'}"
    polls = tuple(poll for config in configs for poll in _polls(config, answer))
    return Load(endpoint(configs[0]), line, answer, polls, _worst(configs, answer))


def _polls(config: ModbusConfig, answer: int) -> Iterator[Poll]:
    blocks = plan(fields_of(config), config.limits)
    for period in sorted({block.period for block in blocks}):
        yield _poll(config, period, [block for block in blocks if block.period == period], answer)


def _poll(config: ModbusConfig, period: int, blocks: Iterable[Block], answer: int) -> Poll:
    bus = config.bus
    asked = [block for block in blocks for _ in range(block.reads)]
    return Poll(
        config.device, config.unit_id, period, len({field.index for block in asked for field in block.fields}), len(asked),
        sum(bus.bytes_of(block) for block in asked), sum(bus.seconds(block, answer) for block in asked),
        tuple(block.name for block in asked),
    )  # fmt: skip


def _worst(configs: Sequence[ModbusConfig], answer: int) -> Dead | None:
    """Ask breaker and line themselves what they will do when answers take ``answer`` ns."""
    if len(configs) == 1:
        return None
    dead = max(configs, key=lambda config: config.timeout)
    timeout = dead.timeout / NS
    breaker, steps = Breaker(timeout, dead.probe / NS, shared=True), Steps(timeout)
    breaker.missed(0.0, timeout, clean=False)
    steps.seen(answer / NS)
    numbered = dead.spoken == "tcp" and not dead.quirks
    return Dead(dead.device, timeout, breaker.patience(1, answer / NS), 0.0 if numbered else 2 * steps.quiet, SHARE)


def overloads(configs: Sequence[tuple[int, ModbusConfig]]) -> list[tuple[int, str]]:
    """Return the number of the first device of each connection whose periods cannot hold however fast the devices answer, and why."""
    first = {config.device: number for number, config in configs}
    return [
        (first[load.polls[0].device], load.problems[0]) for load in loads([config for _, config in configs], 0) if load.share > 1
    ]
