"""What one unit in trouble costs the 29 others behind its gateway, in virtual time: `python tests/modbus/bench_modbus_isolation.py`.

Five minutes each, of 30 units that answer in 20 ms: polled every second (the bus is busy for 60 % of the time) and as fast as it goes (every
100 ms). Beside the circuit breaker stand the two usual ways: ask the dead unit at every poll, or after eight of its timeouts.
"""

from __future__ import annotations

import sys

from modbus_gateway import Gateway, play, run

from edge_agent.drivers.modbus.breaker import Breaker
from edge_agent.drivers.modbus.device import Device

SECONDS = 300.0
DEAD = 7

SCENES: dict[str, tuple[dict[str, object], str]] = {
    "dead, nobody says so": ({"silent": {DEAD}}, "1s"),
    "dead, gateway says 11 after 5 ms": ({"silent": {DEAD}, "patience": 0.005, "reports": True}, "1s"),
    "dead, gateway says 11 after 0.3 s": ({"silent": {DEAD}, "patience": 0.3, "reports": True}, "1s"),
    "dead, gateway says 11 after 3 s, timeout 5 s": ({"silent": {DEAD}, "patience": 3.0, "reports": True}, "5s"),
    "dead, gateway busy with it for 3 s, timeout 1 s": ({"silent": {DEAD}, "patience": 3.0}, "1s"),
    "slow: 0.9 s of a timeout of 1 s": ({"slow": {DEAD: 0.9}}, "1s"),
    "leaves every second request unanswered": ({"every_second": {DEAD}}, "1s"),
    "three dead": ({"silent": {7, 8, 9}}, "1s"),
    "ten dead": ({"silent": set(range(7, 17))}, "1s"),
}


class AskAlways(Breaker):
    """No breaker at all."""

    def patience(self, dead: int, hint: float) -> float:
        return self.timeout

    def rests(self, now: float) -> bool:
        return False


class AnEighth(Breaker):
    """A silent unit is asked again after eight of its timeouts; a slow one at every poll."""

    def patience(self, dead: int, hint: float) -> float:
        return self.timeout

    def broken(self, limit: int) -> bool:
        return self.misses >= limit

    def trip(self, now: float, cost: float, waited: float, dead: int) -> None:
        self.next_at = now + max(8 * self.timeout, 0.5)

    def answered(self, now: float, slowest: float, took: float) -> bool:
        self.misses = 0
        return False

    def blame(self, cost: float) -> None:
        pass


def _using(kind: type[Breaker]):
    def change(devices: list[Device]) -> None:
        for device in devices:
            device.breaker = kind(device.config.timeout / 1e9, device.config.probe / 1e9, shared=True)

    return change


def main() -> None:
    """Print the table."""
    out = sys.stdout.write
    out(
        f"{'polls a second of the units not in trouble':50} {'all well':>9} {'no breaker':>16} {'8 timeouts':>16} {'edge-agent':>16}\n"
    )
    for poll in ("1s", "100ms"):
        out(f"poll every {poll}\n")
        for name, (scene, timeout) in SCENES.items():
            bad = {DEAD} | set(scene.get("silent", ()))
            well = play(run(Gateway(), poll=poll, seconds=SECONDS, timeout=timeout, trouble=bad)).rate
            row = f"  {name:48} {well:9.2f}"
            for kind in (AskAlways, AnEighth, Breaker):
                rate = play(run(Gateway(**scene), poll=poll, seconds=SECONDS, timeout=timeout, change=_using(kind))).rate
                row += f" {rate:7.2f} {100 * (rate / well - 1):+6.1f} %"
            out(row + "\n")


if __name__ == "__main__":
    main()
