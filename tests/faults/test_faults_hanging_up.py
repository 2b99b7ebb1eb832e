"""Messages that a broker does not take, or for which it ends the connection: each once, with the real agent and the checker's verdict.

Each test ends by `Bench.finish`: the counters stand, everything arrives, the agent stops in order, and the ledgers balance.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fault_acts import detected, one_bad_count, set_aside
from fault_bench import RECOVERY, bench, until

from simulators.ledger import read_ledger

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


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
        tries = len(made.connects())
        await one_bad_count(made, "disconnect:0x95")
        begin = time.monotonic()
        await set_aside(made)
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


@pytest.mark.waits(40)
async def test_f44_a_message_for_which_the_broker_closes_without_a_word(tmp_path: Path) -> None:
    """By MQTT 3.1.1 one count ends the connection each time it comes: it alone is set aside after its trials, all others go on."""
    async with bench(tmp_path, protocol="3.1.1") as made:
        made.reasons.add("rejected")
        tries = len(made.connects())
        await one_bad_count(made, "reason_code:0x99")
        begin = time.monotonic()
        await set_aside(made, 65)
        print(f"set aside within {time.monotonic() - begin:.1f} s, {len(made.connects()) - tries} connections")
        await made.fresh(10)
        assert len(made.connects()) - tries <= 12
        verdict = await made.finish()
        assert sum(each.declared_lost for each in verdict.streams) == 1
