"""The line as pure functions of t (ns since the scenario's epoch): every tag, the counters, the energy, the heater.

Nothing here has a state: a server may ask for any t in any order and finds the same line. After ``length`` everything stands.
A PLC tag is served only while the PLC has power; at a boot every tag takes its boot value, or what the script says for that instant.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from simulators.schema import Scenario
from simulators.script import bottle_runs, integral, power_steps, scripted
from simulators.tracks import Run, Value
from simulators.vocabulary import SECOND

JOULE = SECOND
"""Energy is kept in W * ns = nJ, an integer."""

HOUR_S = 3600


@dataclass(frozen=True)
class Change:
    """One PLC tag takes a new value at t."""

    t: int
    tag: str
    value: Value


@dataclass(frozen=True)
class Sample:
    """One measured sample: k counts from 1, ``verdict`` is 1 ok or 2 not ok, ``seq`` counts from 1 in each boot."""

    k: int
    t: int
    serial: str
    weight: int
    verdict: int
    seq: int
    boot: int


class Line:
    """Everything that a scenario says, answered for any t."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.length = scenario.length
        self.boots = scenario.boots
        self.zeroed = tuple(sorted({*self.boots, *scenario.counters.zeroed_at}))
        self.runs = tuple(bottle_runs(scenario))
        self.dry_runs = tuple(Run(run.start, run.period, run.count) for run in scenario.bottles.dry_cycles)
        self.scripted = scripted(scenario)
        self.states, self.modes = self.scripted["state"], self.scripted["mode"]
        self._power = power_steps(scenario)
        self._energy = integral(self._power)

    # -- the PLC -------------------------------------------------------------------------------------------------------------

    def is_on(self, t: int) -> bool:
        """Say whether the PLC has power at t."""
        return self.scenario.is_on(t)

    def boot_at(self, t: int) -> int:
        """Give the instant of the boot that t belongs to."""
        return self.boots[bisect_right(self.boots, t) - 1]

    def value(self, tag: str, t: int) -> Value:
        """Give one tag's value at t (the last one before a power-off while the PLC is off)."""
        t = min(t, self.length)
        if tag in self.scripted:
            return self.scripted[tag].at(t)
        return self._counted_value(tag, t)

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of all PLC tags but the handshake's, in the order in which one scan writes them."""
        return (*self.scripted, *_COUNTED)

    def changes(self, after: int, until: int) -> list[Change]:
        """Give all changes in (after, until] in order of time, then of `tags`; at a boot every tag appears."""
        until = min(until, self.length)
        found: list[tuple[int, int, Change]] = []
        for rank, tag in enumerate(self.tags):
            instants = (t for t in self._instants(tag, after, until) if self.is_on(t))
            found.extend((t, rank, Change(t, tag, self.value(tag, t))) for t in instants)
        return [change for _, _, change in sorted(found, key=lambda item: item[:2])]

    def _instants(self, tag: str, after: int, until: int) -> list[int]:
        boots = {boot for boot in self.boots if after < boot <= until}
        if tag in self.scripted:
            return sorted(boots.union(t for t, _ in self.scripted[tag].changes(after, until)))
        if tag in ("total", "scrap"):
            counts = {t for run in self._all_runs for t in run.times(after, until)}
            wanted = counts | boots | {t for t in self.zeroed if after < t <= until}
            return sorted(t for t in wanted if t in boots or self.value(tag, t) != self.value(tag, t - 1))
        return sorted(boots.union(self._seconds(after, until, self.zeroed if tag == "acc_time" else self.boots)))

    def _seconds(self, after: int, until: int, bases: tuple[int, ...]) -> Iterator[int]:
        for base, following in zip(bases, (*bases[1:], self.length + 1), strict=True):
            begin = max(base, after + 1)
            first = base + -(-(begin - base) // SECOND) * SECOND
            yield from range(first, min(following, until + 1), SECOND)

    @property
    def _all_runs(self) -> tuple[Run, ...]:
        return self.runs + self.dry_runs

    # -- counters ------------------------------------------------------------------------------------------------------------

    def bottles(self, t: int) -> int:
        """How many bottles were made up to and including t."""
        return sum(run.counted(t) for run in self.runs)

    def counted(self, t: int) -> int:
        """How often the total counter stepped up to and including t (bottles and dry cycles)."""
        return sum(run.counted(t) for run in self._all_runs)

    def rejected(self, t: int) -> int:
        """How often the scrap counter stepped up to and including t."""
        return self.bottles(t) // self.scenario.bottles.reject_every

    def _counted_value(self, tag: str, t: int) -> int:
        if tag == "heartbeat":
            return (t - self.boot_at(t)) // SECOND % 2**16
        base = self.zeroed[bisect_right(self.zeroed, t) - 1]
        if tag == "acc_time":
            return (self.scenario.machine.acc_time if base == 0 else 0) + (t - base) // SECOND
        counter = self.scenario.counters.total if tag == "total" else self.scenario.counters.scrap
        count = self.counted if tag == "total" else self.rejected
        return ((counter.start if base == 0 else 0) + count(t) - count(base)) % counter.modulus

    # -- samples -------------------------------------------------------------------------------------------------------------

    def samples(self) -> list[Sample]:
        """Give all samples that happen; none happens while the PLC is off."""
        records, found = self.scenario.records, list[Sample]()
        seq: dict[int, int] = {}
        for k in range(1, records.count + 1):
            t = records.first + (k - 1) * records.period
            if t > self.length or not self.is_on(t):
                continue
            boot = self.boot_at(t)
            seq[boot] = seq.get(boot, 0) + 1
            weight = records.weight.base + k % records.weight.modulo
            verdict = 2 if weight >= records.nok_from else 1
            boot_count = self.scenario.machine.boot_count + self.boots.index(boot)
            found.append(Sample(k, t, records.serial.format(k=k), weight, verdict, seq[boot], boot_count))
        return found

    # -- meter and heater ----------------------------------------------------------------------------------------------------

    def power(self, t: int) -> int:
        """Active power in W."""
        return int(self._power.at(min(t, self.length)))

    def energy(self, t: int) -> int:
        """Energy since t=0 in nJ."""
        t = min(t, self.length)
        index = bisect_right(self._power.times, t) - 1
        return self._energy[index] + int(self._power.values[index]) * (t - self._power.times[index])

    @property
    def energy_unit(self) -> int:
        """One register unit in nJ."""
        return self.scenario.meter.wh_per_unit * HOUR_S * JOULE

    def energy_units(self, t: int) -> int:
        """Whole register units since t=0."""
        return self.energy(t) // self.energy_unit

    def meter_register(self, t: int) -> int:
        """What the energy register shows."""
        return (self.scenario.meter.start + self.energy_units(t)) % self.scenario.meter.modulus

    def time_of_energy(self, energy: int) -> float | None:
        """Give the t in ns at which ``energy`` nJ are reached, None if never."""
        if self.energy(self.length) < energy:
            return None
        index = bisect_right(self._energy, energy - 1) - 1
        return self._power.times[index] + (energy - self._energy[index]) / float(self._power.values[index])

    def heater_registers(self, t: int) -> tuple[int, int, int]:
        """Give the heater's PV (x 0.1 CEL, 32767 in a sensor break), SP and status word."""
        t = min(t, self.length)
        heater = self.scenario.heater
        broken = _inside(heater.breaks, t)
        pv = round(10 * (heater.mean + heater.amplitude * math.sin(t / SECOND / heater.divisor)))
        status = 1 | _inside(heater.high, t) << 1 | _inside(heater.low, t) << 2 | broken << 15
        return (32767 if broken else pv), round(10 * heater.setpoint), status


_COUNTED = ("acc_time", "total", "scrap", "heartbeat")


def _inside(windows: tuple[tuple[int, int], ...], t: int) -> bool:
    return any(begin <= t < end for begin, end in windows)
