"""The planner beside public ones, on maps of 1,000 tags: requests, registers read, time at 9,600 baud and over a network.

``python benchmarks/modbus_plan.py`` prints one table for each map and each permission to read what no tag names, and fails when any strategy needs
fewer requests than the planner has under the same permission. The strategies are written anew from what their makers publish:

* one read for each tag: Home Assistant's modbus integration (a sensor is an address and a count), ThingsBoard IoT Gateway
  (address and objectsCount of each key)
* Telegraf 1.x inputs.modbus, from its documentation of ``optimization``: none (consecutive fields, up to the limit), shrink (the user's layout without
  leading and trailing omits; laid out here as consecutive chunks, omits where the permission has gaps), rearrange (other borders inside a range, the same
  number of requests, fewest registers: taken at its best), max_insert (holes up to ``optimization_max_register_fill``, 50 by default)
* modbus-connection (home-assistant-libs): fields within ``max_gap`` (16 by default) share a read, up to ``max_span`` 125
* fixed windows: the way of Node-RED's Modbus Read nodes and of poller blocks that people lay over a map, here aligned windows of 100 and 125
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_agent.drivers.modbus.bus import ANSWER, Bus
from edge_agent.drivers.modbus.field import Field
from edge_agent.drivers.modbus.plan import Block, Limits, plan
from edge_agent.drivers.modbus.serialline import SerialLine

LINE = Bus("rtu", SerialLine(9600, 8, "even", 1))
NETWORK = Bus("tcp", None)
MOST = 125
Span = tuple[int, int]
Strategy = Callable[[list[Span], int], list[Span]]
"""Values (first address, address behind the last; ordered, none overlapping) and the permitted gap to spans that are read."""


def one_each(values: list[Span], gap: int) -> list[Span]:  # noqa: ARG001 - every strategy is asked the same
    """Read every value by itself."""
    return values


def consecutive(values: list[Span], gap: int) -> list[Span]:
    """Telegraf max_insert, with gap 0 none; modbus-connection: from the left, as long as hole and length allow."""
    spans: list[Span] = []
    for start, end in values:
        if spans and start - spans[-1][1] <= gap and end - spans[-1][0] <= MOST:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def ranges(values: list[Span], gap: int) -> list[list[Span]]:
    """Return the values of each range that has no hole above ``gap``."""
    found: list[list[Span]] = []
    for value in values:
        if found and value[0] - found[-1][-1][1] <= gap:
            found[-1].append(value)
        else:
            found.append([value])
    return found


def shrink(values: list[Span], gap: int) -> list[Span]:
    """Telegraf shrink: chunks of the limit laid over each range of fields and omits, without the omits at both ends."""
    spans = []
    for members in ranges(values, gap):
        chunk, first = [members[0]], members[0][0]
        for value in members[1:]:
            if value[1] - first > MOST:
                spans.append((chunk[0][0], chunk[-1][1]))
                first = chunk[-1][1] if value[0] - chunk[-1][1] else value[0]  # the next chunk begins with the omits that were left
                if value[1] - first > MOST:
                    first = value[0]
                chunk = []
            chunk.append(value)
        spans.append((chunk[0][0], chunk[-1][1]))
    return spans


def rearrange(values: list[Span], gap: int) -> list[Span]:
    """Telegraf rearrange at its best: in each range as many requests as shrink has, placed so that the fewest registers are read."""
    spans: list[Span] = []
    for members in ranges(values, gap):
        best: list[dict[int, tuple[int, list[Span]]]] = [{0: (0, [])}]  # by values covered: requests -> registers, spans
        for behind in range(1, len(members) + 1):
            here: dict[int, tuple[int, list[Span]]] = {}
            for first in range(behind - 1, -1, -1):
                span = (members[first][0], members[behind - 1][1])
                if span[1] - span[0] > MOST:
                    break
                for count, (registers, before) in best[first].items():
                    cost = registers + span[1] - span[0]
                    if cost < here.get(count + 1, (1 << 30, []))[0]:
                        here[count + 1] = (cost, [*before, span])
            best.append(dict(sorted(here.items())[:3]))  # more requests than a few above the fewest are of no use
        count = len(shrink(members, gap))
        spans += min((best[-1][number] for number in best[-1] if number <= count), key=lambda found: found[0])[1]
    return spans


def windows(width: int) -> Strategy:
    """Return the strategy that reads each aligned window of ``width`` in which a value lies."""

    def strategy(values: list[Span], gap: int) -> list[Span]:  # noqa: ARG001
        touched = sorted({number for start, end in values for number in (start // width, (end - 1) // width)})
        return [(number * width, (number + 1) * width) for number in touched]

    return strategy


def ours(values: list[Span], gap: int) -> list[Span]:
    """Plan with this project's planner; fewest requests."""
    return planned(values, Limits(gap=gap))


def ours_by_cost(values: list[Span], gap: int) -> list[Span]:
    """Plan for a line of 9,600 baud."""
    return planned(values, Limits(gap=gap, request=LINE.request))


def planned(values: list[Span], limits: Limits) -> list[Span]:
    """Return what the planner reads."""
    fields = [
        Field(index=n, name=f"t{n}", area="holding", address=start, size=end - start) for n, (start, end) in enumerate(values)
    ]
    return [(block.address, block.address + block.count) for block in plan(fields, limits)]


def tags(seed: int, holes: list[tuple[int, int, int]]) -> list[Span]:
    """Return 1,000 values of 1, 2 and 4 registers; ``holes`` are (weight, shortest, longest) of what lies between two."""
    chance, values, at = random.Random(seed), [], 0
    for _ in range(1000):
        _, low, high = chance.choices(holes, [weight for weight, _, _ in holes])[0]
        at += chance.randint(low, high)
        size = chance.choices([1, 2, 4], [5, 4, 1])[0]
        values.append((at, at + size))
        at += size
    return values


MAPS = {
    "meters: dense, holes of a few registers": tags(1, [(80, 0, 0), (15, 1, 8), (4, 9, 40), (1, 41, 300)]),
    "a PLC's data blocks: runs with wide holes": tags(2, [(92, 0, 0), (2, 1, 10), (4, 20, 120), (2, 200, 900)]),
    "scattered: hardly two together": tags(3, [(20, 0, 0), (50, 1, 10), (28, 11, 60), (2, 61, 400)]),
}
STRATEGIES: dict[int, dict[str, Strategy]] = {
    0: {
        "one read for each tag": one_each,
        "Telegraf none": consecutive,
        "Telegraf shrink": shrink,
        "Telegraf rearrange": rearrange,
    },
    16: {"modbus-connection, max_gap 16": consecutive, "Telegraf max_insert, fill 16": consecutive},
    50: {"Telegraf shrink": shrink, "Telegraf rearrange": rearrange, "Telegraf max_insert, fill 50": consecutive},
    124: {"Telegraf max_insert, fill 124": consecutive, "windows of 100": windows(100), "windows of 125": windows(125)},
}


def seconds(spans: list[Span], bus: Bus) -> float:
    """Return how long one poll takes."""
    return sum(bus.seconds(Block("holding", start, end - start, 1, ()), ANSWER) for start, end in spans)


def main() -> int:
    """Print the tables; returns the number of strategies that needed fewer requests than the planner."""
    beaten = 0
    for name, values in MAPS.items():
        print(f"\n{name}; 1,000 tags in {sum(end - start for start, end in values):,} registers from 0 to {values[-1][1]:,}")
        print(f"{'what may be read, and how':44} {'requests':>8} {'registers':>9} {'9600 baud':>10} {'TCP, 10 ms':>10}")
        for gap, strategies in STRATEGIES.items():
            print(f"gaps up to {gap}" if gap else "only what tags name")
            fewest = len(ours(values, gap))
            for title, strategy in {**strategies, "edge-agent": ours, "edge-agent, told of the 9600 baud": ours_by_cost}.items():
                spans = strategy(values, gap)
                beaten += len(spans) < fewest
                registers = sum(end - start for start, end in spans)
                print(f"  {title:42} {len(spans):8} {registers:9,} {seconds(spans, LINE):8.1f} s {seconds(spans, NETWORK):8.2f} s")
    print(f"\nstrategies with fewer requests than edge-agent under the same permission: {beaten}")
    return beaten


if __name__ == "__main__":
    sys.exit(main())
