"""Whether clocks can be believed: the gateway's by its kernel, the devices' by what they say and by their stamps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import pytest
from agent_bench import ManualClock, at, turns, until

from edge_agent.agent import housekeeping
from edge_agent.agent.discipline import DeviceClocks, Discipline, Kernel, kernel
from edge_agent.agent.journal import Journal
from edge_agent.model.reading import Batch, ClockOffset, DeviceDown
from edge_agent.model.stream import Checkpoint, Custody, Entry

S = 1_000_000_000


def asked(*answers: bool) -> Discipline:
    """Return a clock whose kernel answers so."""
    words: Iterator[bool] = iter(answers)
    return Discipline(lambda: Kernel(next(words)))


@pytest.mark.parametrize(
    ("answers", "states"),
    [
        ((True, True), ["synced", "synced"]),
        ((False, False, True), ["unsynced", "unsynced", "synced"]),
        ((True, False, False, True), ["synced", "holdover", "holdover", "synced"]),
        ((False, True, False), ["unsynced", "synced", "holdover"]),
    ],
)
def test_a_clock_is_unsynced_until_it_was_synced_and_then_in_holdover(answers: tuple[bool, ...], states: list[str]) -> None:
    """A gateway without NTP at the start is another thing than one that lost it."""
    clock = asked(*answers)
    assert [clock.state, *(clock.look()[1] for _ in answers[1:])] == states


def test_the_kernel_answers_or_is_not_believed() -> None:
    """Whatever this machine is, the question changes nothing and gives figures that make sense."""
    found = kernel()
    assert found.synced in {True, False}
    assert found.error_ms is None or found.error_ms >= 0


class Told:
    """A journal that notes steps."""

    def __init__(self, trust: Discipline) -> None:
        self.trust = trust
        self.steps: list[tuple[float, str]] = []

    async def clock_stepped(self, before: int, after: int, *, cause: str = "unknown", device: str | None = None) -> None:
        """Note one."""
        assert device is None
        self.steps.append(((after - before) / S, cause))


async def test_the_first_synchronisation_tells_by_how_much_earlier_times_were_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that started in 1970 and got NTP later: one event with the whole difference, so that consumers can correct."""
    apart = iter((0, 0))
    monkeypatch.setattr(housekeeping, "_apart", lambda: next(apart, 1_700_000_000 * S))
    monkeypatch.setattr(housekeeping, "_LOOK", 0)
    told = Told(asked(False, False, True, *[True] * 1000))
    parts = type("Parts", (), {"journal": told})
    task = asyncio.create_task(housekeeping.watch_clock(cast("Any", parts)))
    await until(lambda: told.steps)
    task.cancel()
    await asyncio.wait([task])
    assert told.steps == [(1_700_000_000.0, "ntp")]


async def test_a_synchronisation_that_is_lost_is_a_fault_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised once with what to do, cleared once; a clock that has never been synchronised is told with the start."""
    monkeypatch.setattr(housekeeping, "_apart", lambda: 0)
    monkeypatch.setattr(housekeeping, "_LOOK", 0)
    written: list[Any] = []
    told = Told(asked(False, False, True, True, False, False, True, *[True] * 1000))

    async def write(event: Any) -> None:
        written.append(event)

    told.write = write  # type: ignore[attr-defined]
    task = asyncio.create_task(housekeeping.watch_clock(cast("Any", type("Parts", (), {"journal": told}))))
    await until(lambda: len(written) == 2)
    await turns(50)
    task.cancel()
    await asyncio.wait([task])
    assert [(event.type, event.data["code"], event.data["action"]) for event in written] == [
        ("agent.fault", "clock_unsynced", "raised"),
        ("agent.fault", "clock_unsynced", "cleared"),
    ]
    assert "time service" in written[0].data["remedy"]


def rows(t: float, *stamped: tuple[int, float], **more: Any) -> Batch:
    """Return a batch received at t with tags and their source times."""
    tags, times = [tag for tag, _ in stamped], [at(stamp) for _, stamp in stamped]
    return Batch("plc", at(t), tags, [0] * len(tags), [0] * len(tags), times, [0] * len(tags), **more)


def steps(*batches: Batch) -> list[float]:
    """Return the steps in seconds that show."""
    clocks = DeviceClocks()
    return [(step.after - step.before) / S for batch in batches for step in clocks.seen(batch)]


def test_a_plc_clock_that_is_set_shows_in_its_stamps() -> None:
    """An hour forward and back again: told once each."""
    story = (
        [rows(t, (0, t)) for t in range(5)]
        + [rows(t, (0, t + 3600)) for t in range(5, 9)]
        + [rows(t, (0, t)) for t in range(9, 12)]
    )
    assert steps(*story) == [3600.0, -3600.0]


def test_standing_values_and_delays_are_no_steps() -> None:
    """A value that changed an hour ago, a frozen stamp and a second of delay say nothing of the clock."""
    story = [
        rows(0, (0, -3600), (1, -7200)),
        rows(1, (0, 1)),
        rows(2, (0, 2), (1, -7200)),
        rows(3.9, (0, 3)),
        rows(4, (1, 4)),
        rows(5, (0, 5)),
    ]
    assert steps(*story) == []


def test_what_was_sampled_while_nobody_listened_is_no_step() -> None:
    """Historical rows carry old stamps by their nature."""
    assert steps(rows(0, (0, 0)), rows(1, (0, 1)), rows(60, (0, 20), (0, 30), historical=True), rows(61, (0, 61))) == []


def test_a_clock_that_was_set_while_the_link_was_down_shows_when_the_device_is_asked() -> None:
    """The measured offset differs from that of the connection before; noise of some milliseconds does not."""

    def measured(offset: float) -> Batch:
        return Batch("plc", at(0), before=(DeviceDown("plc", at(0), None, "cut"), ClockOffset("plc", at(0), round(offset * S))))

    assert steps(measured(0.010), measured(0.030), measured(-3599.9)) == [-3599.93]


class Store:
    """A buffer that keeps what is appended."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, Any]] = []

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Take everything."""
        assert checkpoint is not None
        self.bodies += [(entry.type, msgspec.json.decode(entry.body)) for entry in events]
        return Custody.DURABLE


async def test_the_agents_stream_tells_the_step_of_a_device_and_how_its_own_clock_is() -> None:
    """`clock.stepped` names the device, and every event says that the gateway's clock is not synchronised."""
    store = Store()
    journal = Journal("_agent/gw", cast("Any", store), ManualClock(), prefix="edgeagent", cfg="", devices={"plc": ("opcua", "x")})
    journal.trust = asked(False)
    for t, stamp in ((0, 0), (1, 1), (2, 2), (3, 63)):
        await journal.deliver(rows(t, (0, stamp)))
    ((kind, body),) = store.bodies
    assert kind == "edgeagent.clock.stepped.v1"
    assert {name: body[name] for name in ("which", "device", "step_ms")} == {
        "which": "device",
        "device": "plc",
        "step_ms": 60_000.0,
    }
    assert body["ts"]["clock"] == "unsynced"
