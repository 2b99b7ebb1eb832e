"""The plant of mapping tests and golden traces shows itself the way drivers do."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.events.derive import Tick
from edge_agent.model.instant import NS
from edge_agent.model.reading import AgentDown, Batch, Boot, DeviceDown, DeviceUp
from edge_agent.replay.line import line_in
from edge_agent.replay.plant import BAD, Plant, Sample

T = 1_790_000_000 * NS
RECORD = {
    "pattern": "seq", "seq": "plc.seq", "seq_end": "plc.end", "fields": {"value": "plc.value"}, "characteristic": "weight"
}  # fmt: skip
CONTENT: dict[str, Any] = {
    "units": [{"unit": "u", "records": {"scale": RECORD}, "energy": {"el": {"tag": "meter.kwh", "wraps": "never", "max_rate": "5/s", "every": "2s"}}}],
    "devices": {"plc": {"seq": "uint32", "value": "float32", "end": "uint32"}, "meter": {"kwh": "uint32"}},
    "unstamped": ["meter"],
}  # fmt: skip


@pytest.fixture
def plant() -> Plant:
    """A plant at T."""
    return Plant(line_in(CONTENT), T)


def show(plant: Plant, device: str = "plc", **values: Any) -> list[Any]:
    """Have tags show values."""
    return list(plant.show(device, {name: value if isinstance(value, Sample) else Sample(value) for name, value in values.items()}))


def test_the_first_sample_connects(plant: Plant) -> None:
    """A device comes up with its first samples, and with its boot counter where it has one."""
    assert list(plant.boot("plc", 7)) == []
    (batch,) = show(plant, seq=1)
    assert batch.before == (DeviceUp("plc", T), Boot("plc", T, 7))
    assert (batch.tags, batch.values, batch.source) == ([0], [1], [T])


def test_what_happens_out_of_sight_is_found_by_the_next_connection(plant: Plant) -> None:
    """While a device is cut nothing is given; after it everything that it shows, with the times of the changes."""
    show(plant, seq=1, value=2.5)
    list(plant.until(T + NS))
    (down,) = plant.cut("plc")
    assert down.before == (DeviceDown("plc", T + NS, T, "no answer"),)
    list(plant.until(T + 2 * NS))
    assert show(plant, seq=2) == []
    list(plant.until(T + 3 * NS))
    (batch,) = plant.join("plc")
    assert (batch.values, batch.source) == ([2, 2.5], [T + 2 * NS, T])


def test_an_absence_of_the_agent_has_no_ticks_and_ends_with_a_read_of_everything(plant: Plant) -> None:
    """Nothing is given while the agent is away; then its absence, and every device anew."""
    show(plant, seq=1)
    assert list(plant.stop_agent(final=False)) == []
    assert list(plant.until(T + 10 * NS)) == []
    assert show(plant, seq=5) == []
    away, batch = plant.start_agent()
    assert away == AgentDown(T, T + 10 * NS)
    assert (batch.values, batch.before) == ([5], (DeviceUp("plc", T + 10 * NS),))


def test_ticks_come_each_second_and_at_boundaries_behind_what_happens_then(plant: Plant) -> None:
    """The tick of an instant is given when time goes on; the energy grid has no ticks of its own where whole seconds are."""
    assert list(plant.until(T + 2 * NS)) == [Tick(T + NS)]
    assert list(plant.until(T + 2 * NS)) == []
    assert list(plant.until(T + 3 * NS + 1)) == [Tick(T + 2 * NS), Tick(T + 3 * NS)]
    assert list(plant.end(final=True)) == [Tick(T + 3 * NS + 1, final=True)]
    slow = Plant(line_in(CONTENT), T, every=60 * NS)
    assert [tick.time - T for tick in slow.until(T + 7 * NS)] == [2 * NS, 4 * NS, 6 * NS]


def test_a_trigger_that_changes_brings_its_group(plant: Plant) -> None:
    """All tags of the group come in one snapshot beside the changed ones; without a change of the trigger there is none."""
    first = show(plant, seq=0, value=0.0, end=0)[0]
    assert [part.group for part in first.snapshots] == ["u/scale"]
    (half,) = show(plant, seq=1, value=7.5)
    assert half.snapshots == ()
    (whole,) = show(plant, end=1)
    (part,) = whole.snapshots
    assert (whole.tags[part.start : part.stop], whole.values[part.start : part.stop]) == ([0, 1, 2], [1, 7.5, 1])
    (again,) = show(plant, end=1)
    assert again.snapshots == ()


def test_a_device_without_a_clock_stamps_nothing(plant: Plant) -> None:
    """Its samples have the agent's time alone, and a bad one keeps its reason."""
    (batch,) = show(plant, "meter", kwh=5)
    assert (batch.source, batch.server) == ([0], [0])
    (bad,) = show(plant, "meter", kwh=BAD)
    assert (bad.values, bad.quality) == ([None], [2])


def test_history_comes_before_the_present(plant: Plant) -> None:
    """A device that kept samples tells them when it is back, oldest first, and then what it shows now."""
    show(plant, seq=1)
    list(plant.until(T + 5 * NS))
    list(plant.cut("plc"))
    list(plant.until(T + 9 * NS))
    past, present = plant.history("plc", [(T + 6 * NS, "seq", Sample(2)), (T + 8 * NS, "seq", Sample(3))])
    assert isinstance(past, Batch)
    assert (past.historical, past.values, past.source) == (True, [2, 3], [T + 6 * NS, T + 8 * NS])
    assert (present.historical, present.values, present.source) == (False, [3], [T + 8 * NS])


def test_time_never_goes_back(plant: Plant) -> None:
    """A script whose times fall is refused."""
    list(plant.until(T + NS))
    with pytest.raises(ValueError, match="1 s later already"):
        list(plant.until(T))
