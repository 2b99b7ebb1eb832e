"""The newest sample of every tag: what is held, what counts as changed, and why a tag is not good."""

from __future__ import annotations

import asyncio

from agent_bench import T0, TAGS, at, until
from agent_process import Plant

from edge_agent.agent.collect import DeviceState
from edge_agent.agent.latest import Latest
from edge_agent.model.fault import explained
from edge_agent.model.instant import iso
from edge_agent.model.reading import Batch, Quality, Tag
from edge_agent.status.pagereport import TagsWish


def batch(*rows: tuple[int, object, Quality], received: float = 1.0, source: int = 0, **more: object) -> Batch:
    """Return one batch of plc1."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    times = [source] * len(rows)
    return Batch("plc1", at(received), *columns, times, [0] * len(rows), **more)  # type: ignore[arg-type]


def ask(latest: Latest, since: int = 0, **more: object) -> dict[str, object]:
    """Return what is told, by name."""
    return {each.name: each for each in latest.tags(TagsWish(since=since, **more), T0)[1]}  # type: ignore[arg-type]


async def test_the_newest_sample_is_told_with_its_time_and_whose_clock_that_is():
    """Before the first sample there is none; then the newest counts, and what is history does not."""
    latest = Latest({"plc1": TAGS}, T0)
    assert {(each.quality, each.code, each.time) for each in ask(latest).values()} == {("none", "tag_waits", None)}
    await latest.deliver(batch((0, 5, Quality.GOOD), source=at(0.5)))
    await latest.deliver(batch((0, 4, Quality.GOOD), historical=True))
    told = ask(latest)["count"]
    assert (told.ref, told.value, told.quality, told.basis, told.code) == ("plc1.count", 5, "good", "source", None)
    assert told.time == iso(at(0.5))


async def test_only_what_has_changed_is_told_again():
    """A revision names a moment; one of an earlier run is older than everything."""
    latest = Latest({"plc1": TAGS}, T0)
    before = latest.tags(TagsWish(), T0)[0].revision
    await latest.deliver(batch((1, "A17", Quality.GOOD)))
    assert set(ask(latest, since=before)) == {"order"}
    assert ask(latest, since=latest.tags(TagsWish(), T0)[0].revision) == {}
    assert set(ask(Latest({"plc1": TAGS}, at(5)), since=before)) == {"count", "order"}


async def test_a_device_that_is_down_makes_its_tags_bad_and_names_the_reason():
    """The value stays to be seen, the tags count as changed, and with the connection they are as they were."""
    latest, state = Latest({"plc1": TAGS}, T0), DeviceState()
    await latest.deliver(batch((0, 5, Quality.GOOD), (1, "A17", Quality.GOOD)))
    latest.look({"plc1": state}, [])
    revision = latest.tags(TagsWish(), T0)[0].revision
    state.up, state.error = False, "no route to host"
    latest.look({"plc1": state}, [])
    told = ask(latest, since=revision)["count"]
    assert (told.value, told.quality, told.code, told.detail) == (5, "bad", "device_down", "no route to host")
    state.fault = "cert_changed"
    latest.look({"plc1": state}, [])
    assert ask(latest)["order"].code == "cert_changed"
    state.up, state.fault = True, ""
    latest.look({"plc1": state}, [])
    assert ask(latest)["count"].quality == "good"


async def test_why_a_tag_is_not_good():
    """A fault of the tag itself has its own code; else it is the sample's reason under a code that is explained."""
    latest = Latest({"plc1": TAGS}, T0)
    await latest.deliver(batch((0, None, Quality.BAD), (1, "x", Quality.UNCERTAIN), details={0: "BadSensorFailure"}))
    told = ask(latest)
    assert (told["count"].code, told["count"].detail) == ("tag_bad", "BadSensorFailure")
    assert told["order"].code == "tag_uncertain"
    latest.look({}, [("tag_lost", "plc1.count", "BadNodeIdUnknown")])
    assert (ask(latest)["count"].code, ask(latest)["count"].detail) == ("tag_lost", "BadNodeIdUnknown")
    assert all(explained(code) for code in ("tag_bad", "tag_uncertain", "tag_waits"))


async def test_filters_and_counts():
    """Counts are of everything; a wish for a device, a word or a quality leaves the others out."""
    latest = Latest({"plc1": TAGS, "b": (Tag("b", "x"),)}, T0)
    await latest.deliver(batch((0, 1, Quality.GOOD), (1, None, Quality.BAD), details={1: "BadWaiting"}))
    head, _ = latest.tags(TagsWish(device="b"), T0)
    assert (head.counts.total, head.counts.good, head.counts.bad, head.counts.none) == (3, 1, 1, 1)
    assert set(ask(latest, device="b")) == {"x"}
    assert set(ask(latest, q="COUNT")) == {"count"}
    assert set(ask(latest, q="waiting")) == {"order"}
    assert set(ask(latest, quality="not_good")) == {"order", "x"}
    assert set(ask(latest, quality="good")) == {"count"}
    assert len(ask(latest, limit=2)) == 2


async def test_after_a_reload_the_tags_are_those_of_the_new_files():
    """A device with the same tags keeps its samples, one with others begins anew, one that is gone is gone, and everybody is told everything."""
    latest = Latest({"plc1": TAGS, "old": (Tag("old", "x"),)}, T0)
    await latest.deliver(batch((0, 5, Quality.GOOD)))
    before = latest.tags(TagsWish(), T0)[0].revision
    latest.follow({"plc1": TAGS, "new": (Tag("new", "y"),)})
    head, tags = latest.tags(TagsWish(since=before), T0)
    assert head.whole
    assert {each.ref: each.value for each in tags} == {"plc1.count": 5, "plc1.order": None, "new.y": None}
    head, tags = latest.tags(TagsWish(since=head.revision), T0)
    assert (head.whole, list(tags)) == (False, [])


async def test_values_that_no_reader_of_json_keeps():
    """Large integers are text, bytes are hex, long texts are cut, and the name in an enumeration stands beside its number."""
    tags = tuple(Tag("plc1", name, names=((2, "Stopped"),) if name == "e" else ()) for name in "abcde")
    latest = Latest({"plc1": tags}, T0)
    values = (2**60, b"\x01\xff", "x" * 500, (1.5, b"\x02"), 2)
    await latest.deliver(batch(*((number, value, Quality.GOOD) for number, value in enumerate(values))))
    told = ask(latest)
    assert [told[name].value for name in "abd"] == [str(2**60), "01ff", [1.5, "02"]]
    assert len(told["c"].value) == 200
    assert told["e"].text == "Stopped"


async def test_an_agent_without_web_opens_no_port_and_holds_no_samples(tmp_path, monkeypatch):
    """Nothing listens unless it is configured."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    plant, opened = Plant(tmp_path, monkeypatch), []
    create = asyncio.get_running_loop().create_server

    async def noted(*given: object, **more: object) -> object:
        opened.append(more["sock"].getsockname())  # type: ignore[attr-defined]
        return await create(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", noted)
    async with plant.running():
        await until(lambda: plant.driver.idle and plant.driver.accepted)
    assert opened == [str(plant.folder / "buffer" / "gw1.sock")]
