"""What a unit that is dead, slow or unsteady costs the others on its connection: the schedule in virtual time, without a socket."""

import asyncio

import pytest
from modbus_gateway import Gateway, VirtualClock, came_up, config, play, run

from edge_agent.drivers.modbus.acquire import Acquisition
from edge_agent.drivers.modbus.breaker import SHARE, Breaker, Pace
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.health import Health
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import DeviceFault, Gap
from edge_agent.ports import DeviceWiring

DEAD = 7


@pytest.mark.parametrize("poll", ["1s", "100ms"])
@pytest.mark.parametrize(
    ("trouble", "timeout"),
    [
        ({"silent": {DEAD}}, "1s"),
        ({"silent": {DEAD}, "patience": 0.005, "reports": True}, "1s"),
        ({"silent": {DEAD}, "patience": 3.0, "reports": True}, "5s"),
        ({"silent": {DEAD}, "patience": 3.0}, "1s"),
        ({"slow": {DEAD: 0.9}}, "1s"),
        ({"every_second": {DEAD}}, "1s"),
        ({"silent": {7, 8, 9}}, "1s"),
    ],
    ids=["silent", "exception 11 at once", "exception 11 after 3 s", "gateway busy 3 s", "slow", "every second", "three"],
)
def test_one_unit_of_thirty_costs_the_others_less_than_a_twentieth(trouble: dict, timeout: str, poll: str) -> None:
    """Polled leisurely or as fast as it goes, the other 29 keep more than 95 % of their polls over two minutes, the unit's death included."""
    bad = {DEAD} | trouble.get("silent", set())
    well = play(run(Gateway(), poll=poll, seconds=120, timeout=timeout, trouble=bad)).rate
    gateway = Gateway(**trouble)
    found = play(run(gateway, poll=poll, seconds=120, timeout=timeout)).rate
    assert found > (0.95 if trouble.get("patience", 0) < 1 else 0.9) * well
    assert gateway.asked[DEAD] >= 3, "it is not forgotten"
    assert gateway.most_open == 1


def test_a_unit_that_comes_back_is_polled_again_within_the_probe_interval() -> None:
    """However long a unit was away, its first answer is at most ten seconds after its return."""
    gateway = Gateway(silent={DEAD})
    back: list[float] = []

    def revive() -> None:
        gateway.silent.clear()
        back.append(asyncio.get_running_loop().time())

    batches = play(run(gateway, poll="1s", seconds=247, then=revive, more=15)).batches
    up = came_up(batches, f"u{DEAD}")
    assert len(up) == 2, "at the start, and after its return"
    after = [at for at in gateway.at[DEAD] if at >= back[0]]
    assert after[0] - back[0] <= 10.0
    assert len(after) >= 5, "it is on its grid again"


def test_a_start_among_dead_units_is_bounded_and_finds_the_living() -> None:
    """With 29 of 30 units dead a try ends after about five seconds, the next goes on where it ended, and the unit that answered is asked first from then on."""

    async def scene() -> tuple[list[float], list[int], str]:
        gateway, configs = Gateway(silent=set(range(1, 30))), [config(unit, "1s", "1s") for unit in range(1, 31)]
        lasted, text = [], ""
        for _ in range(8):
            devices = [Device(one, DeviceWiring(), shared=True) for one in configs]
            acquisition = Acquisition(devices, VirtualClock(), gateway.connect)
            began = asyncio.get_running_loop().time()
            try:
                await acquisition.start()
            except DisconnectedError as error:
                text = str(error)
            lasted.append(asyncio.get_running_loop().time() - began)
            first = sorted(gateway.asked, key=lambda unit: gateway.at[unit][-1])
            await acquisition.close()
        return lasted, [unit for unit in first if gateway.at[unit][-1] >= gateway.at[30][-1]], text

    lasted, since, text = play(scene())
    assert max(lasted) < 7.5
    assert since[0] == 30, "the last try began with it"
    assert "units at gw:502 answered in" in text


def test_what_the_death_of_a_unit_costs() -> None:
    """Its timeout once, a shorter wait to be sure, and a new connection after each: no more until the first probe."""
    gateway = Gateway(silent={DEAD})
    play(run(gateway, poll="1s", seconds=9))
    asked = [at for at in gateway.at[DEAD] if at > 5.61]
    assert len(asked) == 2
    assert gateway.connections == 1 + 2
    others = sorted(at for unit, ats in gateway.at.items() if unit != DEAD for at in ats)
    following = [next(at for at in others if at > one) - one for one in asked]
    assert following[0] == pytest.approx(1.003, abs=0.01)
    assert following[1] == pytest.approx(0.403, abs=0.01)


def test_a_slow_unit_is_asked_less_often_and_says_so() -> None:
    """What it is not asked for is a gap with its count, and a fault with the remedy; nobody else has one."""
    gateway = Gateway(slow={DEAD: 0.9})
    batches = play(run(gateway, poll="1s", seconds=100)).batches
    notes = [note for batch in batches for note in batch.before]
    gaps = [note for note in notes if isinstance(note, Gap)]
    assert {gap.device for gap in gaps if (gap.count or 0) > 2} == {f"u{DEAD}"}
    assert sum(gap.count or 0 for gap in gaps if gap.device == f"u{DEAD}") >= 60
    faults = [note for note in notes if isinstance(note, DeviceFault)]
    assert [(fault.device, fault.code, fault.ok) for fault in faults] == [(f"u{DEAD}", "slow", False)]


def test_a_slow_unit_alone_is_asked_as_often_as_it_can() -> None:
    """Where nobody waits for it, a slow device keeps its period."""
    gateway = Gateway(slow={1: 0.9})
    play(run(gateway, poll="1s", seconds=30, units=1, trouble={1}))
    assert gateway.asked[1] >= 33


def test_a_gateway_that_waits_longer_than_we_do_condemns_no_neighbour() -> None:
    """While it is busy with a dead unit other requests stay out, too: those units never count as down."""
    gateway = Gateway(silent={DEAD}, patience=3.0)
    batches = play(run(gateway, poll="1s", seconds=120)).batches
    down = {note.device for batch in batches for note in batch.before if type(note).__name__ == "DeviceDown"}
    assert down == {f"u{DEAD}"}


def test_a_gateway_that_closes_after_each_answer_is_collected_from_in_measure() -> None:
    """One connection for each answer, one at a time, at most ten a second in the long run, and a fault that says so."""
    gateway = Gateway(closes_after=1)
    batches = play(run(gateway, poll="1s", seconds=60, units=5)).batches
    assert sum(gateway.answered.values()) >= 5 * 60
    assert gateway.connections <= sum(gateway.asked.values()) + 2
    assert gateway.most_open == 1
    faults = {note.code for batch in batches for note in batch.before if isinstance(note, DeviceFault)}
    assert faults == {"closes"}
    fast = Gateway(closes_after=1)
    play(run(fast, poll="20ms", seconds=60, units=1))
    assert fast.connections <= 20 + 10 * 66


def test_connections_keep_their_pace() -> None:
    """Twenty at once, then one in 100 ms; after a rest twenty again."""
    pace = Pace()
    assert [pace.wait(0.0) for _ in range(20)] == [0.0] * 20
    assert pace.wait(0.0) == pytest.approx(0.1)
    assert pace.wait(10.0) == 0.0


def test_probes_take_their_share_however_many_are_dead() -> None:
    """With ten dead units each probe waits less and comes less often: together they cost what one may."""
    for dead in (1, 3, 10):
        breaker = Breaker(1.0, 10.0, shared=True)
        breaker.answered(0.0, 0.005, 0.005)
        breaker.missed(1.0, 1.0, clean=False)
        breaker.missed(2.0, 0.4, clean=False)
        assert breaker.broken(2)
        breaker.trip(2.0, 0.4, 0.4, dead)
        now, spent, began = breaker.next_at, 0.0, breaker.next_at
        for _ in range(20):
            patience = breaker.patience(dead, 0.02)
            breaker.missed(now + patience, patience, clean=False)
            breaker.trip(now + patience, patience, patience, dead)
            spent += patience
            now = breaker.next_at
        assert dead * spent / (now - began) <= SHARE * 1.01
        assert (now - began) / 20 <= max(10.0, dead * 0.05 / SHARE) + 1


def test_a_device_alone_is_given_its_whole_timeout() -> None:
    """Patience is shortened for the sake of others only."""
    breaker = Breaker(1.0, 10.0, shared=False)
    for _ in range(5):
        breaker.missed(1.0, 1.0, clean=False)
    assert breaker.patience(1, 0.02) == 1.0


def test_a_fault_is_raised_once_and_cleared_once() -> None:
    """Three failures in a row of one block raise it, one good answer of that block clears it; another block changes nothing."""
    health = Health("dev")
    for about in ("a", "b", "a", "b", "a", "a", "b"):
        health.count("device_failure", about == "a", f"block {about}", 5, about)
    (raised,) = health.take()
    assert (raised.code, raised.ok, raised.text, bool(raised.remedy)) == ("device_failure", False, "block a", True)
    assert health.raised() == ("device_failure",)
    health.count("device_failure", False, "", 6, "b")
    assert not health.take()
    health.count("device_failure", False, "", 7, "a")
    assert [(fault.code, fault.ok) for fault in health.take()] == [("device_failure", True)]
