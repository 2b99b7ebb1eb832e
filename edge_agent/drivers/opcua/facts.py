"""What a mark carries besides its place in a line: what a later connection, also of a later process, cannot ask the server any more (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.item import Item
from edge_agent.drivers.opcua.typebook import text_of
from edge_agent.model.reading import Mark

MOST_BYTES: Final = 8192
"""Bytes of facts that are worth writing with every commit; a server that numbers its items at random for many tags is not resumed."""


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What of a subscription a later connection cannot ask the server.

    Where its tags were found, its items as runs of (first handle, first item, how many), its revised publishing interval (ms) and
    keep-alive time (s), the boot tag's value, and whether the server's state is polled.
    """

    nodes: str
    runs: tuple[tuple[int, int, int], ...]
    publishing: float
    keep_alive: float
    boot: int | str | None = None
    watches: bool = False

    def monitored(self) -> dict[int, int]:
        """Return the monitored item of each handle."""
        return {handle + step: number + step for handle, number, count in self.runs for step in range(count)}


def packed(facts: Facts) -> bytes:
    """Return facts as a mark carries them; more than `MOST_BYTES` of them are not kept."""
    return msgspec.msgpack.encode(facts)


def signature(config: OpcUaConfig, items: Sequence[Item]) -> str:
    """Return what the samples of a subscription depend on in the configuration; the handles are places in this list."""
    said = [(item.tag.name, repr(item.address), repr(item.pick), item.tag.period, item.deadband) for item in items]
    return _digest([config.namespace, config.sampling, config.publishing, *said])


def found(items: Iterable[Item]) -> str:
    """Return where the items of a subscription are at the server now: a program that moved its variables is another one."""
    return _digest((item.handle, text_of(item.node), item.index_range) for item in items if item.node is not None)


def _digest(parts: Iterable[object]) -> str:
    return hashlib.blake2b(repr(list(parts)).encode(), digest_size=12).hexdigest()


def runs_of(items: Sequence[Item]) -> tuple[tuple[int, int, int], ...]:
    """Return the monitored items as runs: servers number them one after another."""
    out: list[tuple[int, int, int]] = []
    for item in items:
        if item.monitored is None:
            continue
        if out and out[-1][0] + out[-1][2] == item.handle and out[-1][1] + out[-1][2] == item.monitored:
            out[-1] = (*out[-1][:2], out[-1][2] + 1)
        else:
            out.append((item.handle, item.monitored, 1))
    return tuple(out)


def facts_of(mark: Mark) -> Facts | None:
    """Return the facts in a mark, None where there are none or another version wrote them."""
    try:
        return msgspec.msgpack.decode(mark.facts, type=Facts) if mark.facts else None
    except msgspec.MsgspecError:
        return None


def started_of(mark: Mark) -> str:
    """Return which run of the server a mark is of."""
    return mark.line.partition("@")[2]


def reached(mark: Mark) -> int:
    """Return the last message that is wholly in."""
    return mark.number - 1 if mark.left else mark.number
