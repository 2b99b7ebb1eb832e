"""Losses that are still open when a device goes down: one that began before its last good answer is no part of the gap from there."""

from __future__ import annotations

from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.device import Device
from edge_agent.drivers.modbus.field import FUNCTION
from edge_agent.drivers.modbus.frames import data_bytes
from edge_agent.drivers.modbus.job import Moment, jobs_of
from edge_agent.drivers.modbus.plan import Block
from edge_agent.drivers.modbus.wire import Reply
from edge_agent.model.reading import DeviceDown, Gap
from edge_agent.ports import DeviceWiring

TAGS = {"fast": {"register": "holding", "address": 0}, "slow": {"register": "holding", "address": 50, "poll": "10s"}}
CONFIG = {"version": 1, "driver": "modbus", "device": "d", "host": "127.0.0.1", "poll": "1s", "tags": TAGS}


async def test_a_lost_poll_of_a_slow_block_is_told_when_the_device_goes_down_after_an_answer_to_another() -> None:
    """The slow block's poll failed, the fast one was answered after it, then nothing: the gap of the slow tag begins before the others'."""
    device = Device(ModbusConfig.model_validate(CONFIG), DeviceWiring())

    async def answer(at: int, watches: list[object]) -> None:
        async def ask(block: Block) -> Reply:
            return Reply(bytes(data_bytes(FUNCTION[block.area], block.count)), at, at - 1)

        device.answered(await device.poll(watches, ask, at), watches, room=True)  # type: ignore[arg-type]

    fast, slow = ([watch] for watch in sorted(device.watches, key=lambda watch: watch.block.period))
    await answer(100, device.watches)
    device.discard("comm_loss", slow, 200)
    await answer(300, fast)
    (batch,) = device.went_down(400, "silent")
    assert [notice for notice in batch.before if isinstance(notice, Gap)] == [Gap("d", "comm_loss", 100, 300, ("slow",), 1)]
    assert [notice.last_good for notice in batch.before if isinstance(notice, DeviceDown)] == [300]


def test_polls_are_due_from_the_first_question_on_however_long_the_start_takes() -> None:
    """Ten seconds passed between the first question to a device and the first look at its grid: its polls of that time were missed."""
    device = Device(ModbusConfig.model_validate(CONFIG), DeviceWiring())
    second = 1_000_000_000
    fast, slow = jobs_of([device], {"d": Moment(0, 5.0)}, Moment(10 * second, 15.0))
    assert (fast.polled, slow.polled) == (5.0, 5.0)
    assert fast.grid.take(10 * second) >= 8
