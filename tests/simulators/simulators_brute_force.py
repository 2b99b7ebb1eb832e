"""A second, naive opinion on a scenario: walk through it in steps of 10 ms with registers as a PLC has them.

Reads the raw YAML mapping and shares no code with simulators.line or simulators.truth. Times must be multiples of 10 ms.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

STEP = 10  # ms


def ms(seconds):
    """Whole milliseconds; refuses what the walk would miss."""
    value = round(seconds * 1000)
    assert value % STEP == 0, seconds
    return value


class Walk:
    """Plays a scenario once; the results are attributes."""

    def __init__(self, raw):
        self.raw, self.now, self.end = raw, 0, ms(raw["length"])
        machine = raw["machine"]
        self.states = {ms(t): s for t, s in machine["states"]}
        self.modes = {ms(t): m for t, m in machine["modes"]}
        self.production = machine["production_modes"]
        self.offs = {ms(r["off"]) for r in machine.get("reboots", [])}
        self.ons = {ms(r["on"]) for r in machine.get("reboots", [])}
        self.context = {ms(c["at"]): c for c in raw["context"]}
        self.power = True
        self.state, self.mode, self.order = None, None, ""
        self.total, self.scrap = raw["counters"]["total"]["start"], raw["counters"]["scrap"]["start"]
        self.bottles, self.since_execute, self.energy = 0, 0, 0
        self.meter = raw["meter"]["start"]
        self.orders, self.shifts, self.no_order = {}, defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
        self.state_changes, self.mode_changes, self.downtimes, self.wraps = 0, 0, [], []
        self.rollovers = {"total": [], "scrap": []}
        self.was_running, self.open = False, None
        self.was_producing, self.split = True, False
        self.making, self.made_in = False, ("", None)

    def run(self):
        """Walk to the end."""
        while self.now <= self.end:
            before = self.order, self.mode
            self._script()
            self.made_in = before if self.now else (self.order, self.mode)  # a scan counts what was made before it
            if self.power:
                self._count()
                self._stops()
            else:
                self.was_producing = True
            if self.now < self.end:
                self._energy()
            self.now += STEP
        for order in self.orders.values():
            order.setdefault("units_end", self.energy // self.unit)
        return self

    @property
    def unit(self):
        return self.raw["meter"]["wh_per_unit"] * 3600 * 1000  # W * ms

    def _script(self):
        if self.now in self.offs:
            self.power, self.making = False, False
        if self.now in self.ons:
            self.power, self.total, self.scrap = True, 0, 0
            self._set_order("")
        if self.now in map(ms, self.raw["counters"].get("zeroed_at", [])):
            self.total = self.scrap = 0
        if (entry := self.context.get(self.now)) is not None and "order" in entry:
            self._set_order(entry["order"])
        before = self.state, self.mode
        self.state = self.states.get(self.now, self.state)
        self.mode = self.modes.get(self.now, self.mode)
        if self.now:
            self.state_changes += self.state != before[0]
            self.mode_changes += self.mode != before[1]
        making = self.power and self.state == "Execute" and self.mode in self.production and self.now < self.end
        if making and not self.making:
            self.since_execute = self.now
        self.making = making

    def _set_order(self, order):
        if order == self.order:
            return
        if self.order:
            self.orders[self.order]["ended"] = self.now / 1000
            self.orders[self.order]["units_end"] = self.energy // self.unit
        self.order = order
        if order:
            self.orders[order] = {"started": self.now / 1000, "total": 0, "scrap": 0, "units_start": self.energy // self.unit}

    def _count(self):
        bottles = self.raw["bottles"]
        late = self.now - self.since_execute - ms(bottles["first"])
        if self.making and late >= 0 and late % ms(bottles["period"]) == 0:
            self.bottles += 1
            self._step(self.bottles % bottles["reject_every"] == 0)
        for dry in bottles.get("dry_cycles", []):
            if self.now in (ms(dry["start"] + n * dry["period"]) for n in range(dry["count"])):
                self._step(rejected=False)

    def _step(self, rejected):
        self.total = self._bump("total", self.total)
        if rejected:
            self.scrap = self._bump("scrap", self.scrap)
        order, mode = self.made_in
        producing = mode in self.production
        if order and producing:
            self.orders[order]["total"] += 1
            self.orders[order]["scrap"] += rejected
        else:
            self.no_order[mode][0] += 1
            self.no_order[mode][1] += rejected
        if producing:
            shift = self.shifts[self._shift()]
            shift[0] += 1
            shift[1] += rejected

    def _bump(self, name, value):
        if value + 1 == self.raw["counters"][name]["modulus"]:
            self.rollovers[name].append(self.now / 1000)
            return 0
        return value + 1

    def _shift(self):
        epoch = self.raw["epoch"]
        epoch = epoch.replace(tzinfo=UTC) if epoch.tzinfo is None else epoch
        local = (epoch + timedelta(milliseconds=self.now)).astimezone(ZoneInfo(self.raw["time_zone"])).time()
        for name, shift in self.raw["shifts"].items():
            start, end = (datetime.strptime(shift[key], "%H:%M").time() for key in ("start", "end"))  # noqa: DTZ007
            if start <= local < end or (end <= start and (local >= start or local < end)):
                return name
        return None

    def _energy(self):
        power = self.raw["power"]
        watts = power["states"].get(self.state, power["default"]) if self.power else power["off"]
        self.energy += watts * STEP
        register = (self.raw["meter"]["start"] + self.energy // self.unit) % self.raw["meter"]["modulus"]
        if register < self.meter:
            self.wraps.append((self.now + STEP) / 1000)
        self.meter = register

    def _stops(self):
        running = self.state == "Execute"
        producing = self.mode in self.production
        if self.open is not None and (running or not producing):
            self.downtimes.append((self.open, self.now / 1000))
            self.open, self.split = None, not producing
        down = ["Stopping", "Stopped", "Aborting", "Aborted", "Holding", "Held", "Suspending", "Suspended"]
        came = producing and not self.was_producing and self.state in down
        begins = (self.was_running or self.split or came) and self.state not in ("Completing", "Complete")
        if producing and not running and self.open is None and begins:
            self.open = self.now / 1000
        if producing:
            self.split = False
        self.was_running, self.was_producing = running and producing, producing
