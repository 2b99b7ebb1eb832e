"""The driver against an asyncua server on loopback."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.common.utils import ServiceError
from opcua_plant import Plc, Proxy, WallClock, config, free_port, reading

from edge_agent.drivers.opcua.driver import connect
from edge_agent.drivers.opcua.pace import Pace
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.reading import Boot, ClockOffset, DeviceUp, Gap, TagStatus
from edge_agent.ports import DeviceWiring, Trigger

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = (f"V{number}" for number in itertools.count())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plc() -> AsyncIterator[Plc]:
    """One server for all tests of the module; each test adds its own variables."""
    plc = Plc(free_port())
    await plc.start()
    yield plc
    await plc.stop()


async def variable(plc: Plc, value: Any, kind: ua.VariantType = ua.VariantType.Int32) -> str:
    """Add a variable with a name of its own."""
    name = next(NAMES)
    await plc.add(name, value, kind)
    return name


async def test_the_first_batch_is_the_baseline(plc: Plc) -> None:
    """One row for every tag, good or bad, with the device's evidence before it."""
    a, b = await variable(plc, 5), await variable(plc, "x", ua.VariantType.String)
    before = await server_time(plc)
    tags = {"a": {"node": f"s={a}", "type": "int32"}, "gone": {"node": "s=Nowhere"}, "b": {"path": f"Objects/{b}"}}
    async with reading(config(plc.port, tags, boot="a")) as reader:
        first = (await reader.once())[0]
        assert (first.tags, first.values, first.quality) == ([0, 1, 2], [5, None, "x"], [0, 2, 0])
        assert first.details == {1: "BadNodeIdUnknown"}
        up, offset, boot = first.before
        assert isinstance(up, DeviceUp)
        assert isinstance(offset, ClockOffset)
        assert before <= offset.time + offset.offset <= await server_time(plc)
        assert isinstance(boot, Boot)
        assert boot.boot_id == 5
        assert boot.started is not None
        assert 0 < first.received - boot.started < 600 * 10**9


async def server_time(plc: Plc) -> int:
    """Return what the server says the time is, in UTC ns."""
    now = await plc.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime)).read_value()
    return (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


async def test_every_change_arrives_in_order_and_once(plc: Plc) -> None:
    """A hundred quick changes come as a hundred rows, and the baseline is not repeated."""
    a = await variable(plc, 0)
    async with reading(config(plc.port, {"a": {"node": f"s={a}", "type": "int32", "scale": 0.5}})) as reader:
        await reader.settled(plc)
        for value in range(1, 101):
            await plc.write(a, value)
            if value % 10 == 0:
                await asyncio.sleep(0.02)
        await reader.until(lambda r: len(r.values("a")) >= 101)
        assert reader.values("a") == [value / 2 for value in range(101)]
        assert not reader.notices(Gap)


async def test_a_vanished_node_is_declared_and_comes_back(plc: Plc) -> None:
    """A node that the server does not know is bad with a notice, others go on, and it is good once it exists."""
    a, late = await variable(plc, 1), next(NAMES)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}, "late": {"node": f"s={late}"}})) as reader:
        await reader.until(lambda r: r.notices(TagStatus))
        assert [(notice.name, notice.ok) for notice in reader.notices(TagStatus)] == [("late", False)]
        await plc.write(a, 2)
        await reader.until(lambda r: 2 in r.values("a"))
        await plc.add(late, 7)
        await reader.until(lambda r: 7 in r.values("late"))
        await plc.write(late, 8)
        await reader.until(lambda r: 8 in r.values("late"))
        assert [(notice.name, notice.ok) for notice in reader.notices(TagStatus)] == [("late", False), ("late", True)]
        assert reader.values("late") == [7, 8]


async def test_a_node_lost_while_running_is_retried(plc: Plc) -> None:
    """A status that says the node is gone makes the tag bad and lost; it is monitored anew when it is back."""
    a, b = await variable(plc, 1), await variable(plc, 1)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}, "b": {"node": f"s={b}"}})) as reader:
        await reader.settled(plc)
        await plc.write(a, None, ua.VariantType.Null, ua.StatusCodes.BadNodeIdUnknown)
        await reader.until(lambda r: r.notices(TagStatus))
        await plc.write(a, 3)
        await plc.write(b, 4)
        await reader.until(lambda r: 3 in r.values("a") and 4 in r.values("b"))
        await plc.write(a, 5)
        await reader.until(lambda r: 5 in r.values("a") and len(r.notices(TagStatus)) > 1)
        assert [notice.ok for notice in reader.notices(TagStatus)] == [False, True]


async def test_nothing_is_acknowledged_before_it_is_accepted(plc: Plc) -> None:
    """The server keeps a notification until read() is called again; then one of the next requests acknowledges it."""
    a = await variable(plc, 0)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}})) as reader:
        await reader.settled(plc)
        kept = plc.subscription._not_acknowledged_results
        await plc.write(a, 1)
        await reader.until(lambda r: 1 in r.values("a"))
        (handed,) = (number for number, result in kept.items() if 1 in changed(result))
        for value in (2, 3, 4, 5, 6, 7, 8):
            await plc.write(a, value)
            await asyncio.sleep(0.04)
        assert handed in kept, "acknowledged although nobody accepted it"
        waiting = {number for number, result in kept.items() if set(changed(result)) & {2, 3, 4, 5, 6, 7, 8}}
        assert waiting
        await reader.once()  # accepts 1, hands out 2 to 8
        for value in (9, 10):
            await plc.write(a, value)
            await asyncio.sleep(0.05)
        assert handed not in kept
        assert waiting <= set(kept)


def changed(result: Any) -> list[object]:
    """Return the values of a kept notification."""
    return [item.Value.Value.Value for part in result.NotificationMessage.NotificationData for item in part.MonitoredItems]


async def test_a_lost_notification_is_asked_for_again(plc: Plc) -> None:
    """A hole in the sequence numbers is filled by Republish, in order, and nothing is declared."""
    a = await variable(plc, 0)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}})) as reader:
        await reader.settled(plc)
        await plc.write(a, 1)
        plc.subscription._pop_publish_result()  # the message with 1 is numbered and kept, and never sent
        await plc.write(a, 2)
        await reader.until(lambda r: 2 in r.values("a"))
        assert reader.values("a") == [0, 1, 2]
        assert not reader.notices(Gap)


async def test_a_notification_lost_for_good_is_a_gap(plc: Plc) -> None:
    """A hole that the server cannot fill is declared before newer values, and all values are read anew."""
    a, b = await variable(plc, 0), await variable(plc, 10)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}, "b": {"node": f"s={b}"}})) as reader:
        await reader.settled(plc)
        await plc.write(b, 11)
        plc.subscription._not_acknowledged_results.pop(plc.subscription._pop_publish_result().NotificationMessage.SequenceNumber)
        await plc.write(a, 2)
        await reader.until(lambda r: 2 in r.values("a") and 11 in r.values("b"))
        (gap,) = reader.notices(Gap)
        assert (gap.reason, gap.count, gap.tags) == ("comm_loss", 1, ())
        assert gap.since <= gap.until


async def test_the_overflow_bit_is_a_gap_of_the_tag(plc: Plc) -> None:
    """A sample with the Overflow bit is good, and its tag has a gap up to it."""
    a = await variable(plc, 0)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}})) as reader:
        await reader.settled(plc)
        await plc.write(a, 9, status=0x0480)
        await reader.until(lambda r: 9 in r.values("a"))
        (gap,) = reader.notices(Gap)
        assert (gap.reason, gap.tags) == ("queue_overflow", ("a",))
        assert gap.since < gap.until


async def test_a_trigger_group_is_one_snapshot(plc: Plc) -> None:
    """After the connect and at each change of the trigger, the group comes in its order, from one request, marked."""
    seq, serial = await variable(plc, 1), await variable(plc, "S1", ua.VariantType.String)
    tags = {"serial": {"node": f"s={serial}"}, "seq": {"node": f"s={seq}"}}
    wiring = DeviceWiring(triggers=(Trigger("record", "seq", ("seq", "serial")),))
    async with reading(config(plc.port, tags), wiring=wiring) as reader:
        await reader.until(snapshots)
        assert snapshots(reader) == [("record", [1, 0], [1, "S1"])]
        await plc.write(serial, "S2", ua.VariantType.String)
        await plc.write(seq, 2)
        await reader.until(lambda r: len(snapshots(r)) == 2)
        assert snapshots(reader)[1] == ("record", [1, 0], [2, "S2"])
        await plc.write(serial, "S3", ua.VariantType.String)
        await plc.write(seq, 2, status=ua.StatusCodes.UncertainLastUsableValue)
        await reader.until(lambda r: "S3" in r.values("serial") and ("seq", 2, 1, "UncertainLastUsableValue") in r.rows())
        await plc.write(serial, "S4", ua.VariantType.String)
        await reader.until(lambda r: "S4" in r.values("serial"))
        assert len(snapshots(reader)) == 2


def snapshots(reader: Any) -> list[tuple[str, list[int], list[object]]]:
    """Return name, tags and values of every snapshot."""
    return [
        (shot.group, batch.tags[shot.start : shot.stop], batch.values[shot.start : shot.stop])
        for batch in reader.batches
        for shot in batch.snapshots
    ]


async def test_the_boot_tag_tells_of_a_restart(plc: Plc) -> None:
    """A change of the boot tag is a notice before the rows that came with it."""
    boot, count = await variable(plc, 3), await variable(plc, 100)
    async with reading(config(plc.port, {"boot": {"node": f"s={boot}"}, "count": {"node": f"s={count}"}}, boot="boot")) as reader:
        await reader.settled(plc)
        await plc.write(count, 0)
        await plc.write(boot, 4)
        await reader.until(lambda r: 0 in r.values("count"))
        assert [notice.boot_id for notice in reader.notices(Boot)] == [3, 4]
        (batch,) = (
            batch for batch in reader.batches if any(isinstance(notice, Boot) and notice.boot_id == 4 for notice in batch.before)
        )
        assert batch.values == [0, 4]


async def test_only_listed_tags_are_written(plc: Plc) -> None:
    """An acknowledgement reaches the PLC; every other write, call or change of the address space raises and never leaves."""
    ack, other = await variable(plc, 0, ua.VariantType.UInt32), await variable(plc, 0)
    tags = {"ack": {"node": f"s={ack}", "type": "uint32", "acknowledge": True}, "other": {"node": f"s={other}", "type": "int32"}}
    tags["unasked"] = {"node": f"s={other}", "type": "int32", "acknowledge": True}
    async with (
        Proxy(plc.port).running() as proxy,
        reading(config(proxy.port, tags), wiring=DeviceWiring(acknowledge=frozenset({"ack"}))) as reader,
    ):
        await reader.settled(plc)
        await reader.driver.acknowledge("plc", "ack", 7)
        await reader.until(lambda r: 7 in r.values("ack"))
        assert (await plc.nodes[ack].read_data_value()).Value.VariantType == ua.VariantType.UInt32
        for tag in ("other", "unasked", "nowhere"):
            with pytest.raises(PermissionError):
                await reader.driver.acknowledge("plc", tag, 8)
        client = reader.driver._session.client
        for forbidden in (
            client.get_node(plc.nodes[other].nodeid).write_value(9, ua.VariantType.Int32),
            client.get_node(plc.nodes[ack].nodeid).write_attribute(ua.AttributeIds.DisplayName, ua.DataValue(ua.Variant("x"))),
            client.nodes.objects.add_variable(ua.NodeId("New", plc.index), "New", 1),
            client.nodes.objects.call_method(ua.NodeId("M", plc.index)),
            client.delete_nodes([client.get_node(plc.nodes[other].nodeid)]),
        ):
            with pytest.raises((PermissionError, ua.UaError)) as caught:
                await forbidden
            assert "is not sent" in str(caught.value)
        assert await plc.nodes[other].read_value() == 0
        assert proxy.requests["Write"] == 1
        assert not {"Call", "AddNodes", "DeleteNodes"} & set(proxy.requests)


async def test_a_dead_link_is_found(plc: Plc) -> None:
    """When the network swallows everything, read() raises soon after the missing keep-alive, everything received first."""
    a = await variable(plc, 0)
    async with Proxy(plc.port).running() as proxy, reading(config(proxy.port, {"a": {"node": f"s={a}"}})) as reader:
        await reader.settled(plc)
        await plc.write(a, 1)
        await asyncio.sleep(0.1)
        proxy.dead = True
        started = asyncio.get_running_loop().time()
        with pytest.raises(DisconnectedError, match="keep-alive"):
            await reader.until(lambda _: False)
        assert 1 in reader.values("a")
        assert asyncio.get_running_loop().time() - started < 3


async def test_an_idle_subscription_stays_alive(plc: Plc) -> None:
    """With nothing to say the keep-alives alone keep the connection up for many times its limit."""
    a = await variable(plc, 0)
    pace = Pace(keep_alive=0.1, patience=0.3)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}}), pace=pace) as reader:
        await reader.settled(plc)
        await asyncio.sleep(1.2)
        await plc.write(a, 1)
        await reader.until(lambda r: 1 in r.values("a"))


async def test_a_full_queue_is_a_declared_gap(plc: Plc) -> None:
    """While nobody reads, samples beyond the bound are dropped, declared with their number, and the last value is read anew."""
    a = await variable(plc, 0)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}}), pace=Pace(rows=3)) as reader:
        await reader.settled(plc)
        for value in range(1, 9):
            await plc.write(a, value)
            await asyncio.sleep(0.04)
        await reader.until(lambda r: r.notices(Gap) and r.values("a")[-1] == 8)
        (gap,) = reader.notices(Gap)
        assert (gap.reason, gap.tags) == ("sampling_overrun", ())
        lost = set(range(9)) - set(reader.values("a"))
        assert gap.count is not None
        assert len(lost) <= gap.count <= 8
        assert reader.values("a") == sorted(reader.values("a"))


async def test_limits_of_the_server_are_kept(plc: Plc, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that reads at most two nodes a request, and says so only by refusing, gives every value at the right tag."""
    from asyncua.server.internal_session import InternalSession

    names = [await variable(plc, number) for number in range(9)]
    read = InternalSession.read

    async def limited(self: InternalSession, params: ua.ReadParameters) -> Any:
        if len(params.NodesToRead) > 2:
            raise ServiceError(ua.StatusCodes.BadTooManyOperations)
        return await read(self, params)

    monkeypatch.setattr(InternalSession, "read", limited)
    async with reading(config(plc.port, {f"t{number}": {"node": f"s={name}"} for number, name in enumerate(names)})) as reader:
        assert (await reader.once())[0].values == list(range(9))


async def test_statuses_and_server_state_become_quality(plc: Plc) -> None:
    """Bad and uncertain statuses pass through with their names, and no value is good while the server is failed."""
    a = await variable(plc, 0)
    state = plc.server.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_State))
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}})) as reader:
        await reader.settled(plc)
        await plc.write(a, 1, status=ua.StatusCodes.UncertainLastUsableValue)
        await plc.write(a, 2, status=ua.StatusCodes.BadSensorFailure)
        await reader.until(lambda r: ("a", None, 2, "BadSensorFailure") in r.rows())
        assert ("a", 1, 1, "UncertainLastUsableValue") in reader.rows()
        await plc.write(a, 3)
        await reader.until(lambda r: 3 in r.values("a"))
        try:
            await state.write_value(ua.ServerState.Failed)
            await reader.until(lambda r: ("a", 3, 2, "server state Failed") in r.rows())
        finally:
            await state.write_value(ua.ServerState.Running)
        await reader.until(lambda r: r.rows()[-1] == ("a", 3, 0, None))


async def test_times_that_cannot_be_are_unknown(plc: Plc) -> None:
    """A source time far in the future is dropped and the row uncertain; the server's own time still stands."""
    a = await variable(plc, 0)
    async with reading(config(plc.port, {"a": {"node": f"s={a}"}})) as reader:
        await reader.settled(plc)
        now = datetime.now(UTC)
        await plc.write(a, 1, SourceTimestamp=now + timedelta(hours=2), ServerTimestamp=now)
        await reader.until(lambda r: any(row[1] == 1 for row in r.rows()))
        (batch,) = (batch for batch in reader.batches if batch.values == [1])
        assert (batch.source, batch.quality, batch.details) == ([0], [1], {0: "the device's time is in the future"})
        assert batch.server[0] > 0


async def test_a_deadband_is_left_to_the_server(plc: Plc) -> None:
    """Small changes are filtered by the server, in scaled units; the sampling and queue are what the intervals need."""
    a = await variable(plc, 100)
    tags = {"a": {"node": f"s={a}", "type": "int32", "scale": 0.1, "deadband": 1.0}}
    async with reading(config(plc.port, tags, publishing="1s", sampling="50ms"), clock=WallClock(speed=50)) as reader:
        await reader.settled(plc)
        item = next(item for item in plc.subscription.monitored_item_srv._monitored_items.values() if item.client_handle == 0)
        assert (item.filter.DeadbandValue, item.queue_size) == (10.0, 3000)
        assert plc.subscription.data.RevisedPublishingInterval == 20.0
        for value in (105, 120, 125, 140):
            await plc.write(a, value)
        await reader.until(lambda r: 14.0 in r.values("a"))
        assert 10.5 not in reader.values("a")


async def test_a_wiring_that_names_unknown_tags_is_refused(plc: Plc) -> None:
    """A unit that asks for a tag the device does not have is a matter for the configuration, not a crash."""
    with pytest.raises(ConfigError, match="plc has no tag b, c"):
        async with reading(
            config(plc.port, {"a": {"node": "s=A"}}), wiring=DeviceWiring((Trigger("g", "a", ("a", "b")),), frozenset({"c"}))
        ):
            pass


async def test_no_server_is_a_lost_connection() -> None:
    """Connecting where nobody listens raises DisconnectedError, and so does a server that accepts and says nothing."""
    with pytest.raises(DisconnectedError):
        async with connect([config(free_port(), {"a": {"node": "i=1"}})], WallClock(), {}):
            pass
    accepted: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with pytest.raises(DisconnectedError, match="no answer within"):
        async with connect([config(port, {"a": {"node": "i=1"}}, timeout="200ms")], WallClock(), {}):
            pass
    for writer in accepted:
        writer.close()
    silent.close()
    await silent.wait_closed()


async def test_a_restart_with_another_namespace_index_brings_every_item_back(plc: Plc) -> None:
    """The server restarts, its namespaces have moved: read() says that it is lost, a new connection has every tag good."""
    names = [await variable(plc, 1) for _ in range(3)]
    tags = {
        "a": {"node": f"s={names[0]}"},
        "b": {"path": f"Objects/{names[1]}"},
        "c": {"node": f"nsu=urn:edge-agent:test-line;s={names[2]}"},
    }
    old = plc.index
    async with reading(config(plc.port, tags)) as reader:
        await reader.settled(plc)
        await plc.stop()
        with pytest.raises(DisconnectedError):
            await reader.until(lambda _: False)
    await plc.restart_with_moved_namespace()
    assert plc.index != old
    for name in names:
        await plc.add(name, 2)
    async with reading(config(plc.port, tags)) as reader:
        await reader.settled(plc)
        assert reader.batches[0].values == [2, 2, 2]
        for name in names:
            await plc.write(name, 3)
        await reader.until(lambda r: all(3 in r.values(tag) for tag in "abc"))
        assert not reader.notices(TagStatus)
