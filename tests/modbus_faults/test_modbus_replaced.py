"""Another unit answers in the device's place (F57): none of its values is handed on, the fault is raised and cleared, the rest is a gap."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from random import Random

import pytest
from mb_plant import FRAMING, Plant
from mb_time import leaping
from mb_trial import PROBE, RECOVERY, all_of, verdict

from edge_agent.model.reading import DeviceFault, DeviceUp
from simulators.modbus_stamps import HOLDING

SEEDS = 20
QUICK = 2
WHO, RIGHT, WRONG = 900, 4711, 1234
"""The register that says who a device is, and what it holds in the right one and in the other."""

WAYS = {"cut": True, "unplugged": True, "silent": False}
"""How a device is taken off the line before it is exchanged, and whether that takes a socket."""

CASES = [
    pytest.param(transport, way, id=f"{transport}-{way}")
    for transport in FRAMING
    for way, socket in WAYS.items()
    if not (socket and transport.endswith("line"))
]


async def exchange(plant: Plant, way: str, strangers: set[int], random: Random) -> None:
    """Take unit 1 (or, with its socket, all) off the line, at whatever moment of a poll this is, and put in what is there from now on."""
    device = plant.device
    match way:
        case "cut":
            device.strangers = strangers
            await plant.port.cut()
        case "unplugged":
            await plant.port.shut()
            device.strangers = strangers
            await asyncio.sleep(random.choice((0.0, 0.02, 0.6)))
            await plant.port.open()
        case _:
            before = device.ledger.misdeeds
            device.rate, device.fault = 1.0, "silent"
            await plant.until(lambda: device.ledger.misdeeds > before, RECOVERY + PROBE)
            device.strangers = strangers
            device.heal()


def plant_of(transport: str, seed: int, random: Random) -> Plant:
    """Return a device that says who it is, behind a gateway with a second one when the seed is odd."""
    identity = {"register": {"register": "holding", "address": WHO}, "equals": RIGHT}
    plant = Plant(transport, random.getrandbits(32), units=1 + seed % 2, identity=identity)
    for unit in plant.device.units:
        plant.device.stamps.own[unit, HOLDING, WHO] = lambda _: RIGHT
        plant.device.other.own[unit, HOLDING, WHO] = lambda _: WRONG
    return plant


async def replaced(transport: str, way: str, seed: int) -> None:
    """Exchange it and bring it back; raises AssertionError, with the seed in it, when anything does not hold."""
    random = Random(f"{transport} {way} {seed}")
    plant = plant_of(transport, seed, random)
    within = RECOVERY + PROBE * (seed % 2)
    strangers = {1} if way == "silent" or random.random() < 0.5 else set(plant.device.units)
    taken = [judge for judge in plant.judges.values() if judge.unit in strangers]

    def raised() -> bool:
        return all(any(not fault.ok for fault in faults(judge.notices)) for judge in taken)

    try:
        async with asyncio.timeout(100), plant.running():
            await plant.fresh(0, within)
            await asyncio.sleep(random.uniform(0, 0.2))
            await exchange(plant, way, strangers, random)
            gone = plant.clock.now()
            await plant.until(raised, within)
            await asyncio.sleep(random.uniform(0, 1.5))
            back = plant.clock.now()
            await exchange(plant, random.choice((way, "silent")), set(), random)
            recovery = await plant.fresh(plant.clock.now(), within)
            await plant.fresh(plant.clock.now(), within)  # the last hole is told with the next answer
        for judge in taken:
            assert faults(judge.notices)[-1].ok, "the fault stands although the right device is back"
            meanwhile = [each for each in judge.notices if isinstance(each, DeviceUp | DeviceFault) and gone < each.time < back]
            assert not [each for each in meanwhile if isinstance(each, DeviceUp) or each.ok], meanwhile
        verdict(plant, recovery)
    except (AssertionError, TimeoutError) as error:
        raise AssertionError(f"{transport}, replaced ({way}), seed {seed}: {error!r}") from error


def faults(notices: Iterable[object]) -> list[DeviceFault]:
    """Return what was told of exchanged devices, in order."""
    return [each for each in notices if isinstance(each, DeviceFault) and each.code == "replaced"]


@pytest.mark.parametrize("transport", FRAMING)
def test_another_device_is_not_believed(transport: str) -> None:
    """Two seeds of every way to exchange a device, in every run of the suite."""
    ways = [way for way, socket in WAYS.items() if not (socket and transport.endswith("line"))]
    leaping(all_of(replaced(transport, way, seed) for way, seed in itertools.product(ways, range(QUICK))))


@pytest.mark.modbus_faults
@pytest.mark.parametrize(("transport", "way"), CASES)
def test_another_device_often(transport: str, way: str) -> None:
    """The other seeds of one way."""
    leaping(all_of(replaced(transport, way, seed) for seed in range(QUICK, SEEDS)))
