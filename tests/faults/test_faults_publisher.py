"""The publisher against everything that brokers and networks do: each fault once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from random import Random

import pytest
from fault_bench import DETECTION, RECOVERY, WINDOW, Bench, bench, until

from simulators.ledger import read_ledger

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]

DOWN = 2.5
"""Machine seconds that a fault lasts."""


async def detected(made: Bench, *words: str) -> float:
    """Wait until the agent's log says that the link is down with these words; returns how long that took."""
    begin = time.monotonic()
    seen = len(made.downs())
    await until(lambda: any(all(word in reason for word in words) for reason in made.downs()[seen:]), DETECTION)
    return time.monotonic() - begin


# -- the broker goes away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_f30_a_broker_that_was_away(tmp_path: Path, number: int) -> None:
    """Killed or stopped, and back after a while: what was made meanwhile arrives in order within seconds."""
    async with bench(tmp_path) as made:
        await made.broker.end(number)
        await asyncio.sleep(DOWN)
        await made.broker.start()
        await made.fresh(RECOVERY + 1)  # one second for the interpreter of the broker
        await made.finish()


async def test_f31_a_broker_that_never_answers_connect(tmp_path: Path) -> None:
    """The try ends after connect_timeout, is named as what it is, and the tries keep their distance."""
    async with bench(tmp_path) as made:
        await made.fault("fault no_connack")
        await made.fault("drop")
        tries = len(made.connects())
        await detected(made, "CONNECT")
        await asyncio.sleep(DOWN)
        assert len(made.connects()) - tries <= 4
        await made.fault("clear")
        await made.fresh()
        await made.finish()


async def test_f32_a_broker_that_never_acknowledges(tmp_path: Path) -> None:
    """The watchdog ends each such connection; none carries more than the window; memory does not grow."""
    async with bench(tmp_path) as made:
        before, begun = made.rss(), len(made.ledger())
        await made.fault("fault never_ack")
        assert await detected(made, "not acknowledged") < 1.0 + 1.5
        await asyncio.sleep(2 * DOWN)
        links = [entry["link"] for entry in made.ledger()[begun:] if entry["what"] == "publish"]
        assert max(links.count(link) for link in set(links[1:]) - {links[0]}) <= WINDOW
        await made.fault("clear")
        await made.fresh()
        assert made.rss() - before < 8 * 2**20
        await made.finish()


async def test_f33_connections_that_die_in_the_middle_of_a_packet(tmp_path: Path) -> None:
    """Twice a connection is reset after 9,000 bytes: it goes on from the oldest unacknowledged record each time."""
    async with bench(tmp_path) as made:
        tries = len(made.connects())
        made.link.up.set("cut_after", "9000")
        await until(lambda: len(made.connects()) - tries >= 2, RECOVERY)
        made.link.up.clear()
        await made.fresh()
        await made.finish()


async def test_f33_connections_that_die_again_and_again(tmp_path: Path) -> None:
    """A series of resets may be held for a second client, and answered by a pause; the books balance all the same."""
    async with bench(tmp_path) as made:
        made.link.up.set("cut_after", "9000")
        await asyncio.sleep(2 * DOWN)
        made.link.up.clear()
        await restart(made)
        await made.finish()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_f33_cuts_at_random_accuse_no_message(tmp_path: Path, protocol: str) -> None:
    """Every connection is reset after another number of bytes, often in the very first record: none is ever set aside for it."""
    async with bench(tmp_path, protocol=protocol) as made:
        random, tries, end = Random(33), len(made.connects()), time.monotonic() + 8 * DOWN
        while time.monotonic() < end:
            made.link.up.set("cut_after", str(random.randint(800, 9_000)))
            await asyncio.sleep(random.uniform(0.1, 0.5))
        made.link.up.clear()
        print(f"{len(made.connects()) - tries} connections")
        assert len(made.connects()) - tries >= 5
        await restart(made)
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 0


# -- acknowledgements --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", ["drop_ack,every=40", "ack_twice", "ack_wrong_id,every=40", "ack_reordered:5", "garbage:3,times=2", "slow:150"]
)
async def test_f34_acknowledgements_that_go_wrong(tmp_path: Path, fault: str) -> None:
    """Lost, doubled, for another message, out of order, no MQTT at all, late: nothing is skipped."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault {fault}")
        await asyncio.sleep(DOWN)
        await made.fault("clear")
        await made.fresh()
        await made.finish()


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97])
async def test_f35_a_refusal_for_now(tmp_path: Path, code: int) -> None:
    """Every 25th message is refused for a while: all of them arrive all the same, in order."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault reason_code:{code},every=25")
        await asyncio.sleep(DOWN)
        await made.fault("clear")
        await made.fresh()
        assert any(each.code == code for each in made.events(taken=False))
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 0


@pytest.mark.parametrize("code", [0x90, 0x99])
async def test_f35_a_refusal_for_good(tmp_path: Path, code: int) -> None:
    """One count is refused each time it comes (3.4.2.1; 0x95 is no code of a PUBACK): it becomes a declared loss with its totals, and what is behind it goes on."""
    async with bench(tmp_path) as made:
        made.reasons.add("rejected")
        await made.fault(f'fault reason_code:{code},holding="counter":"c0"')
        await until(lambda: any(each.code == code for each in made.events(taken=False)), 5)
        bad = next(each for each in made.events(taken=False) if each.code == code)
        await made.fault(f'fault reason_code:{code},holding="raw":"{bad.data["raw"]}"')
        await until(lambda: any(each.data.get("reason") == "rejected" for each in made.events()), 5)
        await made.fresh()
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 1
        assert sum(each.declared_lost for each in verdict.sources) == bad.data["delta"]


# -- refused connections -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0x86, 0x9D])
async def test_f36_credentials_that_are_refused_are_not_hammered(tmp_path: Path, code: int) -> None:
    """Where only a person can help the agent tries once in 30 s; it says why; a restart finds everything in the buffer."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault connack:{code}")
        tries = len(made.connects())
        await made.fault("drop")
        await detected(made, f"0x{code:02X}")
        await asyncio.sleep(2 * DOWN)
        assert len(made.connects()) - tries == 1
        await made.fault("clear")
        await restart(made)
        await made.finish()


@pytest.mark.parametrize("code", [0x89, 0x97])
async def test_f36_a_busy_broker_is_tried_again_soon(tmp_path: Path, code: int) -> None:
    """Busy, unavailable, over quota: the agent knocks again by itself, a few times in as many seconds."""
    async with bench(tmp_path) as made:
        await made.fault(f"fault connack:{code}")
        tries = len(made.connects())
        await made.fault("drop")
        await asyncio.sleep(DOWN)
        assert 2 <= len(made.connects()) - tries <= 7
        await made.fault("clear")
        await made.fresh()
        await made.finish()


async def test_f36_the_agent_is_back_by_itself_when_a_person_has_helped(tmp_path: Path) -> None:
    """The slow back-off ends: the next try comes within 30 s and everything arrives."""
    async with bench(tmp_path) as made:
        await made.fault("fault connack:0x87")
        await made.fault("drop")
        await detected(made, "0x87")
        await made.fault("clear")
        await made.fresh(30 + RECOVERY, healed=False)  # the slow back-off is meant
        await made.finish()


async def test_f37_a_session_that_is_taken_over(tmp_path: Path) -> None:
    """Another client with the same id: the agent says so and backs off instead of taking the session back at once."""
    async with bench(tmp_path) as made:
        tries = len(made.connects())
        await made.fault("fault take_over:50")
        await made.fault("drop")
        await detected(made, "0x8E", "client_id")
        await asyncio.sleep(2 * DOWN)
        assert len(made.connects()) - tries <= 2
        await made.fault("clear")
        await restart(made)
        await made.finish()


async def restart(made: Bench) -> None:
    """End the agent in order, start it again and wait for fresh data."""
    made.reasons.add("agent_down")
    assert await made.agent.end() == 0
    await made.agent.start()
    await made.fresh(15)


# -- the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["both", "up", "down"])
async def test_f39_a_black_hole(tmp_path: Path, which: str) -> None:
    """Both ways or one: noticed by the missing acknowledgements, and over within seconds of its end."""
    async with bench(tmp_path) as made:
        for lane in made.link.lanes(which):
            lane.set("freeze", "1")
        assert await detected(made, "acknowledged") < 1.0 + 1.5
        await asyncio.sleep(DOWN)
        for lane in made.link.lanes(which):
            lane.set("freeze", "0")
        await made.fresh()
        await made.finish()


async def test_f40_a_peer_that_lost_its_power(tmp_path: Path) -> None:
    """The connection stays open and nobody is there: noticed by the missing acknowledgements, a new connection works at once."""
    async with bench(tmp_path) as made:
        made.link.half_open()
        assert await detected(made, "acknowledged") < 1.0 + 1.5
        await made.fresh()
        await made.finish()


@pytest.mark.parametrize("line", ["stall=0.05", "delay=2", "rate=2500"])
async def test_f41_a_bad_line_makes_no_disconnect_loop(tmp_path: Path, line: str) -> None:
    """Losses, two seconds each way, or a thin line on which a full window takes longer than ack_timeout: the connection holds."""
    async with bench(tmp_path, ack_timeout="5s", connect_timeout="5s", keepalive="15s") as made:
        tries = len(made.connects())
        for lane in made.link.lanes("up" if line.startswith("rate") else "both"):
            lane.set(*line.split("="))
        await asyncio.sleep(10)
        assert len(made.connects()) == tries
        for lane in made.link.lanes("both"):
            lane.clear()
        await made.fresh(2 * RECOVERY)
        await made.finish()


async def test_f43_a_backlog_after_an_outage(tmp_path: Path) -> None:
    """What was made in six seconds drains several times faster than it was made, in order, with bounded memory."""
    async with bench(tmp_path, counters=12, rate=20.0) as made:
        before = made.rss()
        await made.fault("fault refuse")
        since = time.monotonic()
        await asyncio.sleep(6)
        count, away = len(made.events()), time.monotonic() - since
        await made.fault("clear")
        await made.fresh(2 * RECOVERY, healed=False)  # it comes behind the whole backlog, whose rate is judged below
        came = made.events()[count:]
        backlog = [each for each in came if each.at <= came[0].at + RECOVERY][: round(away * len(came) / (came[-1].at - since))]
        rate, live = len(backlog) / (backlog[-1].at - backlog[0].at), len(came) / (came[-1].at - since)
        print(f"backlog: {len(backlog)} events at {rate:.0f}/s, live {live:.0f}/s, RSS +{(made.rss() - before) / 2**20:.1f} MiB")
        assert rate >= 5 * live
        assert made.rss() - before < 16 * 2**20
        await made.finish()


async def test_f44_an_event_that_is_larger_than_the_broker_takes(tmp_path: Path) -> None:
    """The counts of one counter are too large for the broker: none is sent, each is declared lost, and all others go on."""
    async with bench(tmp_path, names=("c0", "c" * 64)) as made:
        made.reasons.add("rejected")
        await made.fresh(count=4, healed=False)  # both counters
        sizes = {each.data["counter"]: each.size for each in made.events() if each.type.endswith("production.count.v1")}
        await made.fault(f"fault maximum_packet:{sum(sizes.values()) // 2}")
        await made.fault("drop")
        await made.fresh(count=1)
        verdict = await made.finish()
        short, long = verdict.sources
        assert short.declared_lost == 0 < long.declared_lost
        assert not [entry for entry in made.ledger() if entry["what"] == "disconnect" and "packet of" in entry["why"]]


async def test_f44_a_message_for_which_the_broker_hangs_up(tmp_path: Path) -> None:
    """One count ends the connection by DISCONNECT 0x95 each time it comes: it alone is set aside after a few quick tries, all others go on."""
    async with bench(tmp_path) as made:
        made.reasons.add("rejected")
        bad, tries, begin = max(made.generator.told.values()) + 20, len(made.connects()), time.monotonic()
        await made.fault(f'fault disconnect:0x95,holding="raw":"{bad}"')
        await until(lambda: any(each.data.get("reason") == "rejected" for each in made.events()), RECOVERY)
        print(f"set aside within {time.monotonic() - begin:.1f} s, {len(made.connects()) - tries} connections")
        await made.fresh()
        assert len(made.connects()) - tries <= 5
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 1


async def test_f44_several_messages_for_which_the_broker_hangs_up(tmp_path: Path) -> None:
    """Ten counts of one counter, with good ones in between: each is set aside in a third of a second, and nothing else is."""
    async with bench(tmp_path) as made:
        made.reasons.add("rejected")
        bad, tries = max(made.generator.told.values()) // 10 + 2, len(made.connects())
        await made.fault(f'fault disconnect:0x95,holding="raw":"{bad}')
        await detected(made, "0x95")
        begin = time.monotonic()
        await until(lambda: any(int(each.data.get("raw", 0)) > 10 * bad + 9 for each in made.events()), 3 * RECOVERY)
        print(f"{time.monotonic() - begin:.1f} s, {len(made.connects()) - tries} connections")
        await made.fresh()
        verdict = await made.finish()
        shown = [entry["value"]["c2"] // 10 for entry in read_ledger(tmp_path / "generator.jsonl") if entry["what"] == "read"]
        assert sum(each.declared_lost for each in verdict.streams) == shown.count(bad)  # ten, but for what a late poll has missed
        assert len(made.connects()) - tries <= 10 * 4


async def test_f44_a_message_for_which_the_broker_closes_without_a_word(tmp_path: Path) -> None:
    """By MQTT 3.1.1 one count ends the connection each time it comes: it alone is set aside after its trials, all others go on."""
    async with bench(tmp_path, protocol="3.1.1") as made:
        made.reasons.add("rejected")
        bad, tries, begin = max(made.generator.told.values()) + 20, len(made.connects()), time.monotonic()
        await made.fault(f'fault reason_code:0x99,holding="raw":"{bad}"')
        await until(lambda: any(each.data.get("reason") == "rejected" for each in made.events()), 65)
        print(f"set aside within {time.monotonic() - begin:.1f} s, {len(made.connects()) - tries} connections")
        await made.fresh(10)
        assert len(made.connects()) - tries <= 12
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 1


@pytest.mark.parametrize("times", [1, 3])
async def test_f35_a_refusal_that_no_puback_may_carry(tmp_path: Path, times: int) -> None:
    """0x95 in a PUBACK, as some brokers send it: the message is known; it is tried again, and set aside alone after three of them."""
    async with bench(tmp_path) as made:
        made.reasons.add("rejected")
        begun = len(made.events())
        await made.fault('fault reason_code:0x95,times=1,holding="counter":"c0"')
        await until(lambda: any(each.code == 0x95 for each in made.events(taken=False)), 5)
        bad = next(each for each in made.events(taken=False)[begun:] if each.code == 0x95)
        if times > 1:
            await made.fault(f'fault reason_code:0x95,holding="raw":"{bad.data["raw"]}"')
            await until(lambda: any(each.data.get("reason") == "rejected" for each in made.events()), RECOVERY)
        await made.fresh()
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == (times > 1)
