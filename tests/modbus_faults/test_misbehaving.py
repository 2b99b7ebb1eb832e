"""Everything that a Modbus device can do wrong (F50 to F54), over every transport: nothing invented, every loss declared, and back in time."""

from __future__ import annotations

from random import Random

import pytest
from mb_plant import FRAMING
from mb_time import leaping
from mb_trial import possible, trials

from simulators.modbus_misdeeds import MISDEEDS

SEEDS = 20
QUICK = 2
STALLS = 24
OVER_TLS = {"F50": 5, "F52": 4, "F54": 8}
"""What a layer between could change, and in how many seeds it is played: late, odd and ended answers. The others are as over TCP."""

CLASSES = [
    pytest.param(transport, fault, id=f"{transport}-{fault}")
    for transport in FRAMING
    for fault in sorted({MISDEEDS[name].fault for name in possible(transport)})
    if transport != "tls" or fault in OVER_TLS
]
CASES = [
    pytest.param(transport, fault, id=f"{transport}-{fault}")
    for transport in FRAMING
    for fault in possible(transport)
    if transport != "tls" or MISDEEDS[fault].fault in OVER_TLS
]


@pytest.mark.parametrize(("transport", "fault"), CLASSES)
def test_each_misdeed_of_a_class(transport: str, fault: str) -> None:
    """Two seeds of every misdeed, in every run of the suite, all at the same time."""
    leaping(trials(transport, [name for name in possible(transport) if MISDEEDS[name].fault == fault], range(QUICK)))


@pytest.mark.parametrize("fault", ["another follows", "silent"])
def test_a_machine_that_stalls(fault: str) -> None:
    """Polls that the machine had no time for are declared, too: at the start, within a poll, before a device goes down."""
    for seed in range(STALLS):
        leaping(trials("tcp", [fault], [seed]), Random(seed))


@pytest.mark.modbus_faults
@pytest.mark.parametrize(("transport", "fault"), CASES)
def test_a_misdeed_often(transport: str, fault: str) -> None:
    """The other seeds of one misdeed."""
    seeds = OVER_TLS[MISDEEDS[fault].fault] if transport == "tls" else SEEDS
    leaping(trials(transport, [fault], range(QUICK, seeds)))
