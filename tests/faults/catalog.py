"""What can be done to a running bench, by name: each fault begins, lasts as long as its caller wishes, and ends.

The choice of a fault and its arguments is the caller's random generator's; a fault that finds nobody to do it to says so and does not count.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from fault_bench import Bench

from simulators.lane import Lane

Act = Callable[[Bench, random.Random], Awaitable[bool]]
"""Does it; False when it was not possible just now."""


class Fault(NamedTuple):
    """``touches`` = what only one fault at a time may be done to; ``hits`` = broker, network, device or agent; ``slow`` = machine seconds more until data may be asked for."""

    name: str
    hits: str
    touches: str
    begin: Act
    end: Act
    slow: float = 0.0


def asked(name: str, hits: str, make: Callable[[random.Random], str], *, drop: bool = False) -> Fault:
    """A fault of the broker's own, ``make`` gives its text; ``drop``: it shows at the next connect, so all are reset."""

    async def begin(made: Bench, rng: random.Random) -> bool:
        text = make(rng)
        if done := await control(made, f"fault {text}"):
            _ = drop and await control(made, "drop")
        return done

    async def end(made: Bench, rng: random.Random) -> bool:
        return await control(made, f"clear {name.partition(':')[0]}")

    return Fault(name, hits, f"broker {name}", begin, end)


async def control(made: Bench, request: str) -> bool:
    """Ask the broker; False when it does not run."""
    try:
        await made.fault(request)
    except (OSError, ValueError):  # nobody listens, or it went while it was asked
        return False
    return True


def spoilt(
    name: str, prop: str, values: Callable[[random.Random], float], *, far: bool = False, sides: str = "up down both"
) -> Fault:
    """A property of one or both lanes of a link; ``far``: of the one to the device."""

    async def begin(made: Bench, rng: random.Random) -> bool:
        value = values(rng)
        for lane in lanes(made, rng.choice(sides.split()), far=far):
            lane.set(prop, f"{value:.9f}" if prop != "cut_after" else f"{value:.0f}")
        return True

    async def end(made: Bench, rng: random.Random) -> bool:
        for lane in lanes(made, "both", far=far):
            lane.set(prop, "0")
        return True

    return Fault(name, "device" if far else "network", f"{'far' if far else 'near'} {prop}", begin, end)


def lanes(made: Bench, which: str, *, far: bool) -> list[Lane]:
    """Return the lanes of one of the links."""
    link = made.device if far else made.link
    assert link is not None
    return link.lanes(which)


async def nothing(made: Bench, rng: random.Random) -> bool:
    """End what is over already."""
    return True


def at_once(name: str, act: Callable[[Bench], object], hits: str = "network") -> Fault:
    """Something that happens in a moment."""

    async def begin(made: Bench, rng: random.Random) -> bool:
        act(made)
        return True

    return Fault(name, hits, name, begin, nothing)


def cut(name: str, *, far: bool) -> Fault:
    """A link that is cut and mended."""

    async def begin(made: Bench, rng: random.Random) -> bool:
        link = made.device if far else made.link
        assert link is not None
        await link.cut()
        return True

    async def end(made: Bench, rng: random.Random) -> bool:
        link = made.device if far else made.link
        assert link is not None
        await link.mend()
        return True

    return Fault(name, "device" if far else "network", name, begin, end)


async def _end_broker(made: Bench, rng: random.Random) -> bool:
    await made.broker.end(rng.choice((signal.SIGKILL, signal.SIGTERM)))
    return True


async def _start_broker(made: Bench, rng: random.Random) -> bool:
    await made.start_broker()
    return True


async def _kill_agent(made: Bench, rng: random.Random) -> bool:
    await made.kill_agent()
    return True


async def _start_agent(made: Bench, rng: random.Random) -> bool:
    await made.start_agent()
    return True


CODES_FOR_NOW = (0x80, 0x83, 0x97)
BUSY = (0x88, 0x89, 0x97)

BROKER = (
    Fault("broker ended", "broker", "broker", _end_broker, _start_broker, slow=1.0),
    asked("no_connack", "broker", lambda rng: "no_connack", drop=True),
    asked("never_ack", "broker", lambda rng: "never_ack"),
    asked("drop_ack", "broker", lambda rng: f"drop_ack,every={rng.randint(20, 60)}"),
    asked("ack_twice", "broker", lambda rng: "ack_twice"),
    asked("ack_wrong_id", "broker", lambda rng: f"ack_wrong_id,every={rng.randint(20, 60)}"),
    asked("ack_reordered", "broker", lambda rng: f"ack_reordered:{rng.randint(2, 8)}"),
    asked("garbage", "broker", lambda rng: f"garbage:{rng.randint(1, 1000)},times=2"),
    asked("slow", "broker", lambda rng: f"slow:{rng.randint(20, 300)}"),
    asked("reason_code", "broker", lambda rng: f"reason_code:{rng.choice(CODES_FOR_NOW)},every={rng.randint(10, 40)}"),
    asked("connack", "broker", lambda rng: f"connack:{rng.choice(BUSY)}", drop=True),
    asked("refuse", "broker", lambda rng: "refuse"),
)
NETWORK = (
    cut("link cut", far=False),
    at_once("connections reset", lambda made: made.link.reset()),
    at_once("peer without power", lambda made: made.link.half_open()),
    spoilt("black hole", "freeze", lambda rng: 1.0),
    spoilt("delay", "delay", lambda rng: rng.uniform(0.05, 0.4)),
    spoilt("stalls", "stall", lambda rng: rng.uniform(0.01, 0.1), sides="both"),
    spoilt("thin line", "rate", lambda rng: rng.uniform(8_000, 30_000)),
    spoilt("cut after some bytes", "cut_after", lambda rng: rng.randint(3_000, 20_000), sides="up"),
)
FLIPS = spoilt("bit flips", "flip", lambda rng: 10 ** rng.uniform(-5, -3))
"""Only where TLS is in use: MQTT has no checksum of its own, and a bit that flips behind TCP's is believed."""
DEVICE = (
    cut("device cut", far=True),
    spoilt("device silent", "freeze", lambda rng: 1.0, far=True),
    spoilt("device slow", "delay", lambda rng: rng.uniform(0.02, 0.2), far=True),
)


def disk(name: str) -> Fault:
    """A failpoint under the agent's buffer: the real code meets the error that a disk would give."""

    async def begin(made: Bench, rng: random.Random) -> bool:
        (made.folder / name).touch()
        return True

    async def end(made: Bench, rng: random.Random) -> bool:
        (made.folder / name).unlink()
        return True

    return Fault(f"disk {name}", "disk", "disk", begin, end, slow=1.0)  # it is tried once a second


_FAILPOINTS = ("write_full", "fsync_eio", "write_eio", "write_readonly", "fsync_sleep=200ms", "fsync_enospc")
DISK = tuple(disk(name.partition("=")[0]) for name in _FAILPOINTS)


def failpoints(folder: Path) -> dict[str, str]:
    """Return the agent's environment that makes `DISK` possible: each fault lasts as long as a file of its name stands in ``folder``."""
    return {"EDGE_AGENT_FAILPOINT": ";".join(f"{name}:while={folder / name.partition('=')[0]}" for name in _FAILPOINTS)}


AGENT = (Fault("agent killed", "agent", "agent", _kill_agent, _start_agent, slow=2.0),)
