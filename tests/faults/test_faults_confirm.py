"""Confirm mode against brokers that lose what they acknowledged: found by the consumer's mark, published again, and nobody asked for it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from fault_bench import RECOVERY, ROOT, Bench, bench, until
from fault_consumer import Consumer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


async def crash(made: Bench, consumer: Consumer) -> int:
    """Let the consumer be away while the broker acknowledges, kill the broker with its sessions, bring both back; return the last number lost."""
    consumer.go()
    await made.fresh()
    await made.broker.end(signal.SIGKILL)
    lost = max(each.seq for each in made.events() if each.stream == "filler")
    assert consumer.high() < lost
    await made.start_broker()
    consumer.come()
    return lost


@pytest.mark.parametrize("confirm", [True, False])
async def test_a_broker_that_crashed_after_puback_is_found_out(tmp_path: Path, confirm: bool) -> None:
    """What it had acknowledged and its consumer never saw is published again within seconds; without confirm it stays a hole."""
    async with bench(tmp_path, buffer={"confirm": confirm, "confirm_within": "1s"}) as made:
        consumer = Consumer(broker_port(made))
        consumer.come()
        await made.fresh()
        await until(lambda: consumer.high() > 0, RECOVERY)
        lost = await crash(made, consumer)
        if confirm:
            await until(lambda: consumer.high() > lost, 2 * RECOVERY)
        else:
            await made.fresh()
            await asyncio.sleep(3.0)
            assert consumer.high() < lost
        await made.fresh()
        consumer.go()
        assert bool([line for line in made.log() if line["event"] == "confirm.republished"]) == confirm
        await made.finish()
        assert not consumer.inbox.tally.conflicts


async def test_nonsense_on_the_topics_moves_nothing(tmp_path: Path) -> None:
    """Numbers never given, steps back, text, floods, other epochs: the mark stands where the consumer put it, and the log is not filled."""
    async with bench(tmp_path, buffer={"confirm": True}) as made:
        consumer = Consumer(broker_port(made))
        consumer.come()
        await until(lambda: consumer.high() > 3, RECOVERY)
        consumer.confirming = False
        await asyncio.sleep(0.5)
        mark = await confirmed(made)
        epoch = made.events()[0].epoch
        nonsense = [
            json.dumps({"epoch": epoch, "seq": 10**9}), json.dumps({"epoch": epoch, "seq": 1}), json.dumps({"epoch": "x", "seq": 5}),
            json.dumps({"epoch": epoch, "seq": True}), json.dumps({"epoch": epoch, "seq": "7"}), json.dumps({"epoch": epoch, "seq": -1}),
            json.dumps({"epoch": epoch, "seq": 1e30}), json.dumps({"epoch": epoch, "seq": 1 << 70}), "[" * 200, "null", "\0", "", "x" * 5000,
        ]  # fmt: skip
        for _ in range(20):
            for payload in nonsense:
                consumer.say("filler", payload)
            consumer.say("nobody", nonsense[0])
            await asyncio.sleep(0.02)
        await made.fresh()
        assert await confirmed(made) == mark > 0
        assert len([line for line in made.log() if line["event"] == "confirm.refused"]) <= 6
        consumer.say("filler", json.dumps({"epoch": epoch, "seq": mark + 1}))
        await asyncio.sleep(1.0)
        assert await confirmed(made) == mark + 1
        consumer.go()
        await made.finish()


async def confirmed(made: Bench) -> int:
    """Return the mark of the unit as `buffer status` tells it."""
    file = str(made.folder / "agent.yaml")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge_agent", "buffer", "status", "-c", file, "--json", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return next(each["confirmed"] for each in json.loads(out)["streams"] if each["stream"] == "filler")


def broker_port(made: Bench) -> int:
    """Return the port of the broker itself, behind the link."""
    return int(made.link._target[1])
