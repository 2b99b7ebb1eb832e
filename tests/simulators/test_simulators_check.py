"""The checker has teeth: a run that is right balances, and each way of being wrong is named."""

import json
import sys

import pytest

from simulators import check
from simulators.check import judge
from simulators.check_records import Held, StoreView
from simulators.check_sources import judge_counter, shown

GAP, COUNT = "edgeagent.collection.gap.v1", "edgeagent.production.count.v1"


def publish(seq, data=None, *, type_=COUNT, code=0, link=1, **more):
    """One line of the broker's ledger."""
    data = {"epoch": "E1", "seq": seq, "counter": "c0", "raw": str(100 + seq), "delta": 1, "total": seq} if data is None else data
    data = {"epoch": "E1", "seq": seq, **data}
    event = {"specversion": "1.0", "id": f"E1-filler-{seq:012d}", "source": "/acme/plant1/gw1/filler", "type": type_}
    event |= {"sequence": f"{seq:020d}", "data": data}
    user = [["id", event["id"]], ["type", type_], *([["resend", "1"]] if more.pop("asked", False) else [])]
    entry = {"at": 1.0, "what": "publish", "client": "gw1", "link": link, "mid": seq, "dup": False, "code": code, "size": 9}
    return entry | {"topic": "edge/v1/a/_event", "retain": False, "user": user, "payload": json.dumps(event)} | more


def gap(first, last, reason="buffer_overflow", **more):
    """A loss record."""
    return publish(last, {"reason": reason, "seq_from": first, "seq_to": last, **more}, type_=GAP)


def run(*numbers):
    """A ledger with these numbers."""
    return [connect(), *(publish(number) for number in numbers)]


def connect(link=1, code=0):
    """A connection of the agent."""
    return {"at": 0.0, "what": "connect", "client": "gw1", "link": link, "code": code}


def held(seq, *, waiting=True, sound=True, **data):
    """A record of the store."""
    body = {"counter": "c0", "raw": str(100 + seq), "delta": 1, "total": seq} | data
    return Held("filler", "E1", seq, None, COUNT, body, waiting, sound)


def store(head, *records):
    """A store."""
    return StoreView({("filler", "E1"): head}, list(records))


READ = [{"what": "read", "value": {"c0": value}} for value in (100, 101, 103)]


def terms(verdict):
    """(produced, delivered, lost, buffered) of the only stream."""
    (each,) = verdict.streams
    return each.produced, each.delivered_unique, each.declared_lost, each.still_buffered


@pytest.mark.parametrize(
    ("ledger", "kept", "expected"),
    [
        (run(1, 2, 3), store(3), (3, 3, 0, 0)),
        (run(1, 2), store(4, held(3), held(4)), (4, 2, 0, 2)),
        ([*run(1), gap(2, 4), publish(5)], store(5), (5, 2, 3, 0)),
        ([*run(1), publish(2, code=0x97), connect(2), publish(2, link=2)], store(2), (2, 2, 0, 0)),
        ([*run(1, 2, 3), connect(2), *(publish(n, link=2) for n in (2, 3, 4))], store(4), (4, 4, 0, 0)),
        ([*run(1), publish(2, code=0x97), publish(3), connect(2), publish(2, link=2), publish(3, link=2)], store(3), (3, 3, 0, 0)),
        ([*run(1), publish(2, code=0x99), publish(3), gap(2, 2, "rejected")], store(3), (3, 2, 1, 0)),
        ([*run(1, 3), gap(2, 2, "rejected")], store(3), (3, 2, 1, 0)),
        ([*run(1, 2), publish(1, asked=True)], store(2), (2, 2, 0, 0)),
        (run(), store(0), (0, 0, 0, 0)),
    ],
)
def test_what_is_right_balances(ledger, kept, expected):
    """Delivered, buffered, declared lost, refused and sent again, repeated over a reconnection, asked for again."""
    verdict = judge(ledger, kept, reasons=frozenset({"buffer_overflow", "rejected"}))
    assert verdict.problems == []
    assert terms(verdict) == expected


@pytest.mark.parametrize(
    ("ledger", "kept", "word"),
    [
        (run(1, 3), store(3), "undeclared_missing"),
        (run(1, 2), store(3), "undeclared_missing"),
        (run(1, 2), store(3, held(3, waiting=False)), "undeclared_missing"),
        ([*run(1), publish(2, code=0x97)], store(2), "undeclared_missing"),
        (run(1, 2, 3), store(2), "invented"),
        ([*run(1), publish(2, payload='{"torn')], store(1), "corrupted"),
        ([*run(1), publish(2, user=[["id", "another"]])], store(2), "corrupted"),
        ([*run(1, 2), publish(2, {"raw": "999"}, link=1), connect(2)], store(2), "corrupted"),
        (run(1, 2), store(2, held(2, waiting=False, raw="999")), "corrupted"),
        (run(1), store(2, held(2, sound=False)), "corrupted"),
        (run(1, 3, 2), store(3), "out_of_order"),
        ([*run(1), publish(2, code=0x97), publish(3), connect(2), publish(2, link=2)], store(3), "out_of_order"),
        (run(1, 2, 2), store(2), "1 duplicates, at most 0"),
        ([*run(1), gap(2, 2, "comm_loss")], store(2), "without an injected cause"),
    ],
)
def test_what_is_wrong_is_named(ledger, kept, word):
    """Missing, never delivered though the store says so, invented, torn, changed, out of order, repeated for nothing, declared for nothing."""
    problems = judge(ledger, kept).problems
    assert len(problems) >= 1
    assert word in " ".join(problems)


def test_repetitions_have_a_bound():
    """W for each reconnection; what a kill can undo comes on top."""
    many = [connect(), *(publish(n) for n in range(1, 31)), connect(2), *(publish(n, link=2) for n in range(1, 31))]
    assert "30 duplicates" in judge(many, store(30), window=20).problems[0]
    assert judge(many, store(30), window=30).problems == []
    assert judge(many, store(30), window=20, restarts=1).problems == []


def counted(*counts):
    """Arrivals of counts given as (register value, delta)."""
    ledger = [
        publish(n, {"counter": "c0", "raw": str(raw), "delta": delta, "total": raw - 100})
        for n, (raw, delta) in enumerate(counts, 1)
    ]
    return check.arrivals(ledger)[0]


@pytest.mark.parametrize(
    ("counts", "violations"),
    [
        ([(101, 1), (103, 2)], {}),
        ([(103, 3)], {}),
        ([(101, 1)], {"undeclared_missing": 2}),
        ([(103, 2)], {"undeclared_missing": 1}),
        ([(101, 1), (103, 3)], {"counted_twice": 1}),
        ([(101, 1), (102, 1), (103, 1)], {"invented": 1}),
        ([(101, 1), (103, 2), (203, 100)], {"invented": 1}),
    ],
)
def test_a_counter_is_tiled_by_its_counts(counts, violations):
    """Every change of the device in exactly one count, and no register value that the device did not show."""
    assert judge_counter("c0", shown(READ)["c0"], counted(*counts), []).violations == violations


def test_a_loss_record_accounts_for_the_changes_between_its_totals():
    """Totals start at the agent's baseline; the register value behind them is known from any count."""
    came = counted((101, 1))
    came += check.arrivals([gap(2, 2, totals_at_from={"c0": 1}, totals_at_to={"c0": 3})])[0]
    verdict = judge_counter("c0", shown(READ)["c0"], came, [])
    assert (verdict.violations, verdict.declared_lost) == ({}, 2)
    verdict = judge_counter("c0", shown(READ)["c0"], counted((101, 1)), [held(2, raw="103", delta=2)])
    assert (verdict.violations, verdict.still_buffered) == ({}, 2)


def test_the_command_says_what_it_found(tmp_path, monkeypatch, capsys):
    """Exit code 0 and the equation when it balances, 1 and the violation when it does not."""
    path = tmp_path / "ledger.jsonl"
    monkeypatch.setattr(sys, "argv", ["check", "--broker", str(path)])
    path.write_text("".join(json.dumps(entry) + "\n" for entry in run(1, 2)))
    assert check.main() == 0
    assert "2 produced = 2 delivered + 0 declared lost + 0 buffered" in capsys.readouterr().out
    path.write_text("".join(json.dumps(entry) + "\n" for entry in run(1, 3)))
    assert check.main() == 1
    assert "VIOLATION" in capsys.readouterr().out


async def test_the_store_of_an_agent_that_has_ended_is_read_from_a_copy(tmp_path):
    """What the agent's buffer wrote is found by the documented format alone: heads, what waits, what was delivered; a flipped byte shows."""
    import apsw

    from edge_agent.buffer.config import BufferConfig
    from edge_agent.buffer.sqlite import open_buffer
    from edge_agent.model.stream import Entry
    from simulators.check_records import read_store

    config = BufferConfig.model_validate({"path": tmp_path / "buffer", "min_free": 0})
    async with open_buffer(config) as buffer:
        entries = [Entry("filler", "E", COUNT, 5, 6, b'{"counter":"c0","raw":"%d","delta":1}' % raw) for raw in (101, 102)]
        await buffer.append(entries, None)
        first = (await buffer.peek("mqtt", None, 1, "E"))[0]
        await buffer.settle("mqtt", [first.key], [])
    view = read_store(tmp_path / "buffer")
    assert list(view.heads.values()) == [2]
    assert [(each.seq, each.data["raw"], each.waiting, each.sound) for each in view.records] == [
        (1, "101", False, True),
        (2, "102", True, True),
    ]
    connection = apsw.Connection(str(tmp_path / "buffer" / "buffer.db"))
    connection.execute("UPDATE record SET body = ? WHERE seq = 2", (b'{"counter":"c0","raw":"103","delta":1}',))
    connection.close()
    assert [each.sound for each in read_store(tmp_path / "buffer").records] == [True, False]


async def test_the_generator_writes_down_what_it_is_about_to_show(tmp_path):
    """The last entry of its ledger is what the answer says; stopped counters are final once they were read."""
    import asyncio

    from simulators.generator import Generator
    from simulators.ledger import Ledger, read_ledger

    with Ledger(tmp_path / "generator.jsonl") as ledger:
        generator = Generator(["c0", "c1"], 1000.0, ledger)
        await generator.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", generator.port)
        for stopped in (False, True, True):
            if stopped:
                generator.stop_counting()
            writer.write(b"\0\1\0\0\0\6\1\3\0\0\0\4")
            answer = await asyncio.wait_for(reader.readexactly(17), 5)
            shows = {"c0": int.from_bytes(answer[9:13], "big"), "c1": int.from_bytes(answer[13:17], "big")}
            assert read_ledger(tmp_path / "generator.jsonl")[-1]["value"] == shows
        assert generator.final
        assert shows["c1"] - shows["c0"] == 1_000_000
        writer.close()
        await generator.close()
