"""The store: events, sequence and outbox are on the disk together, in both databases."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from consumer_bench import NOW, SOURCE, event, feed, gap, payload, piece, total

from edge_agent.consumer import documents
from edge_agent.consumer.apply import Stream
from edge_agent.consumer.database import Database, open_database
from edge_agent.consumer.holes import Asking, Hole, holes
from edge_agent.consumer.schema import migrate, migrations
from edge_agent.consumer.store import Store
from edge_agent.model.errors import ConfigError, StorageError, TakenError


def test_a_transaction_that_fails_leaves_nothing(store: Store, again: Callable[[], Store]) -> None:
    """Neither events nor the sequence are there after an error in the middle; the same messages are then booked as if nothing had been."""
    feed(store, piece(1, 5, 5))
    with contextlib.suppress(KeyboardInterrupt), store.database.transaction():
        store.take(piece(2, 1, 6), retained=False, now=NOW)
        store.finish()
        raise KeyboardInterrupt
    assert store.database.read("SELECT high FROM streams") == [(1,)]
    after = again()
    feed(after, piece(2, 1, 6))
    assert (total(after.database), after.streams[SOURCE].high) == (6, 2)


def test_the_program_goes_on_after_a_failed_transaction(store: Store) -> None:
    """The same store, told to begin again, forgets what did not get to the disk: streams, parked events and totals."""
    feed(store, piece(1, 5, 5))
    with contextlib.suppress(KeyboardInterrupt), store.database.transaction():
        for one in (piece(2, 1, 6), piece(4, 1, 8)):
            store.take(one, retained=False, now=NOW)
        store.finish()
        raise KeyboardInterrupt
    store.begin()
    assert (store.streams[SOURCE].high, store.streams[SOURCE].parked) == (1, {})
    feed(store, piece(2, 1, 6), piece(4, 1, 8), piece(3, 1, 7))
    assert store.database.read("SELECT delta, kind FROM counts ORDER BY seq, part") == [
        (5, "told"),
        (1, "told"),
        (1, "told"),
        (1, "told"),
    ]


def test_what_is_parked_outlives_a_restart(store: Store, again: Callable[[], Store]) -> None:
    """Parked events are acknowledged, so they must be on the disk; the hole is known to whoever asks."""
    feed(store, piece(1, 1, 1), piece(4, 1, 4), piece(7, 1, 7))
    missing = store.database.read("SELECT first_seq, last_seq, how FROM missing_ranges ORDER BY first_seq")
    assert missing == [(2, 3, "waiting"), (5, 6, "waiting")]
    after = again()
    feed(after, piece(2, 1, 2), piece(3, 1, 3), piece(5, 1, 5), piece(6, 1, 6))
    assert total(after.database) == 7
    assert after.database.read("SELECT * FROM missing_ranges") == []
    assert after.database.read("SELECT * FROM parked") == []


def test_a_declared_loss_stays_in_the_missing_ranges(store: Store) -> None:
    """What will never come is named for ever, with who said so."""
    feed(store, piece(1, 1, 1), gap(4, 2))
    assert store.database.read("SELECT first_seq, last_seq, how FROM missing_ranges") == [(2, 3, "declared")]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"\xff", b"[" * 5000, payload(1).replace(b'"seq": 1,', b'"seq": 2,'), payload(1).replace(b'"epoch": "E1",', b"")],
)
def test_what_is_no_event_is_kept_aside_and_stops_nothing(store: Store, body: bytes) -> None:
    """Nonsense on the topic becomes an alarm with its body; what comes after it is booked."""
    feed(store, body, piece(1, 1, 1))
    assert store.database.read("SELECT kind FROM consumer_alarms") == [("unreadable",)]
    assert total(store.database) == 1


def test_an_event_without_what_its_type_must_have_takes_its_number(store: Store) -> None:
    """It stays in the inbox, a person is told, and the stream goes on."""
    feed(store, payload(1, counter="total"), piece(2, 1, 1))
    assert store.database.read("SELECT kind FROM consumer_alarms") == [("unbooked",)]
    assert store.streams[SOURCE].high == 2
    assert total(store.database) == 1


def test_the_unique_id_is_the_belt(store: Store) -> None:
    """A new number with an id that is in the inbox is not booked a second time."""
    feed(store, piece(1, 1, 1), piece(2, 1, 2, event_id="E1-filler-000000000001"), piece(3, 1, 3))
    assert store.database.read("SELECT kind FROM consumer_alarms") == [("two_of_an_id",)]
    assert total(store.database) == 3  # the total tells what the refused event had


def test_a_sample_with_a_known_key_is_the_same_sample(store: Store) -> None:
    """The PLC's own key is unique: a record that was raised twice is booked once, and told."""
    key = {"device": "plc1", "generation": 0, "seq": 7}
    sample = {"test_id": "w", "verdict": "ok", "unit": {"serial": "S7"}, "source_key": key}
    feed(store, payload(1, "quality.result", **sample), payload(2, "quality.result", **sample))
    assert store.database.read("SELECT serial FROM quality") == [("S7",)]
    assert store.database.read("SELECT kind FROM consumer_alarms") == [("two_of_a_key",)]


def test_text_that_a_database_cannot_keep_is_kept_readable(store: Store) -> None:
    """A NUL in a PLC's string harms no transaction."""
    feed(store, payload(1, "alarm.raised", alarm_id="1", instance_id="f/1/1", text="a\0b", severity=500))
    assert store.database.read("SELECT message FROM alarms") == [("a\u2400b",)]


def test_a_downtime_gets_its_reason_later(store: Store) -> None:
    """Start, reason and end of a downtime are one row, whatever comes when."""
    feed(
        store,
        payload(1, "downtime.started", t=1, downtime_id="d", category="stopped", reason=None, started_at="2026-10-25T05:00:00Z"),
        payload(2, "downtime.reason", t=2, downtime_id="d", reason={"code": 2101, "text": "Capper"}),
        payload(3, "downtime.ended", t=9, downtime_id="d", category="faulted", reason=None, duration_s=8.0, micro=True),
    )
    rows = store.database.read("SELECT category, reason_code, reason_text, duration_s, micro, order_id FROM downtimes")
    assert rows == [("faulted", "2101", "Capper", 8.0, 1, "WO-1")]


def test_a_late_state_does_not_change_what_is_now(store: Store) -> None:
    """An event of an earlier time is history: the current state stays."""
    run, stop = (
        {"code": code, "name": name, "category": category}
        for code, name, category in ((6, "Execute", "running"), (2, "Stopped", "stopped"))
    )
    feed(
        store,
        payload(1, "state.changed", t=9, to=run, **{"from": stop}),
        payload(2, "state.changed", t=5, to=stop, late=True, **{"from": run}),
    )
    assert store.database.read("SELECT category FROM unit_now") == [("running",)]


def test_a_count_after_the_end_of_its_order_is_an_adjustment(store: Store) -> None:
    """Published facts never change: what is counted late for a closed order stands in a view of its own."""
    feed(
        store,
        payload(1, "order.started", order="WO-1", state="Running"),
        piece(2, 5, 5),
        payload(3, "order.completed", order="WO-1", state="Ended.Completed", t=3),
        piece(4, 2, 7, late=True, t=2.5),
    )
    assert store.database.read("SELECT seq, delta FROM late_for_order") == [(4, 2)]
    assert store.database.read("SELECT total, late FROM order_totals") == [(7, 2)]


@pytest.mark.parametrize("named", [None, "WO-1"])
def test_a_count_across_an_unseen_change_is_nobodys(store: Store, named: str | None) -> None:
    """`spans` with the order books to unassigned, whatever order stands in the context."""
    feed(
        store,
        piece(1, 5, 5),
        payload(2, counter="total", disposition="total", delta=3, total=8, spans=["order"], ctx={"order": named}),
    )
    assert store.database.read("SELECT delta, spans FROM unassigned_counts") == [(3, '["order"]')]
    assert store.database.read("SELECT total FROM order_totals") == [(5,)]


# -- completeness ----------------------------------------------------------------------------------------------------


def checkpoint(store: Store, last: int, published: int, watermark: str, *, epoch: str = "E1", **totals: float) -> None:
    """Take a checkpoint in."""
    body = {
        "stream": "filler",
        "time": watermark,
        "epoch": epoch,
        "last_seq": last,
        "published_seq": published,
        "watermark": watermark,
    }
    with store.database.transaction():
        store.checkpoint(SOURCE, documents.checkpoint(json.dumps(body | {"totals": totals}).encode()), now=NOW)
        store.finish()


def test_a_watermark_holds_when_everything_before_it_is_applied(store: Store, again: Callable[[], Store]) -> None:
    """`complete_to` waits for the last number of the checkpoint, also over a restart, and never goes back."""
    feed(store, piece(1, 1, 1))
    checkpoint(store, 1, 1, "2026-10-25T05:00:00Z")
    checkpoint(store, 3, 3, "2026-10-25T05:01:00Z")
    reached = "SELECT complete_to FROM complete_to"
    assert store.database.read(reached) == [("2026-10-25T05:00:00.000000Z",)]
    assert store.database.read("SELECT first_seq, last_seq, how FROM missing_ranges") == [(2, 3, "waiting")]
    after = again()
    feed(after, piece(3, 1, 3), piece(2, 1, 2))
    assert after.database.read(reached) == [("2026-10-25T05:01:00.000000Z",)]
    checkpoint(after, 3, 3, "2026-10-25T05:00:30Z")
    assert after.database.read(reached) == [("2026-10-25T05:01:00.000000Z",)]
    assert after.database.read("SELECT * FROM missing_ranges") == []


def test_a_stream_nobody_has_heard_of_is_missing_as_a_whole(store: Store) -> None:
    """A checkpoint of a stream without events says how much of it is not here."""
    checkpoint(store, 9, 8, "2026-10-25T05:00:00Z")
    assert store.database.read("SELECT source, first_seq, last_seq, how FROM missing_ranges") == [(SOURCE, 1, 8, "waiting")]


def test_totals_that_differ_from_a_quiet_streams_checkpoint_are_an_alarm(store: Store) -> None:
    """Two equal checkpoints of a stream that is applied to its end must say what is booked."""
    feed(store, piece(1, 5, 5))
    for _ in range(2):
        checkpoint(store, 1, 1, "2026-10-25T05:00:00Z", total=5)
    assert store.database.read("SELECT kind FROM consumer_alarms") == []
    for _ in range(2):
        checkpoint(store, 1, 1, "2026-10-25T05:00:10Z", total=6)
    assert store.database.read("SELECT kind FROM consumer_alarms") == [("totals_differ",)]


def test_holes_are_those_behind_something_parked_and_those_up_to_a_checkpoint() -> None:
    """The first hole of each stream, the tail that a broker lost, and a stream or epoch that is not known at all."""
    waiting, tail, whole = Stream("/a", "E1", 4, {9: event(9)}), Stream("/b", "E1", 4), Stream("/c", "E1", 4)
    found = holes(
        [waiting, tail, whole], [("/a", "E1", 20), ("/b", "E1", 6), ("/c", "E2", 3), ("/d", "E1", 2), ("/b", "E0", 9)][:4]
    )
    assert {(one.source, one.epoch, one.first, one.last) for one in found} == {
        ("/a", "E1", 5, 8), ("/b", "E1", 5, 6), ("/c", "E2", 1, 3), ("/d", "E1", 1, 2),
    }  # fmt: skip


def test_a_hole_is_asked_for_after_patience_and_then_more_rarely() -> None:
    """What may just be late is waited for; an agent that does not answer is not hammered; a hole that moves is a new one."""
    asking, hole = Asking(1.0), Hole("/a", "E1", 5, 90_000)
    asked = [now for now in range(40) if asking.due([hole], float(now))]
    assert asked == [1, 3, 7, 15, 31]
    assert asking.due([Hole("/a", "E1", 6, 8)], 40.0) == []
    assert asking.due([Hole("/a", "E1", 6, 8)], 41.0) == [Hole("/a", "E1", 6, 8)]
    assert asking.due([], 42.0) == []
    assert Asking(0.0).due([hole], 0.0) == []


def test_who_is_back_is_asked_soon() -> None:
    """A broker or an agent that was away may not have heard it: it is asked at once or after the usual patience, and no hole waits five minutes for that."""
    asking, hole = Asking(1.0), Hole("/a", "E1", 5, 8)
    asked = [now for now in range(20) if asking.due([hole], float(now))]
    assert asked == [1, 3, 7, 15]
    asking.anew(20.0)
    assert [now for now in range(20, 30) if asking.due([hole], float(now))] == [21, 23, 27]


def test_no_more_than_five_thousand_numbers_are_asked_for_at_once() -> None:
    """A long hole is filled in parts."""
    asking, hole = Asking(0.0), Hole("/a", "E1", 5, 90_000)
    asking.due([hole], 0.0)
    assert asking.due([hole], 1.0) == [Hole("/a", "E1", 5, 5004)]


# -- the databases ---------------------------------------------------------------------------------------------------


def test_only_one_consumer_writes(url: str) -> None:
    """A second consumer of the same database is refused, and may write when the first has gone."""
    first, second = open_database(url), open_database(url)
    first.claim()
    with pytest.raises(TakenError, match="another consumer"):
        second.claim(patience=0.0)
    first.reopen()
    with pytest.raises(TakenError):
        second.claim(patience=0.0)
    first.close()
    second.claim()
    second.close()


def test_the_schema_is_brought_up_once(database: Database) -> None:
    """Migrating again changes nothing; a database of a newer edge-agent is refused."""
    assert migrate(database) == max(migrations())
    database.write("INSERT INTO schema_version (version) VALUES (99)")
    with pytest.raises(ConfigError, match="schema 99"):
        migrate(database)


def test_an_error_of_the_database_is_a_storage_error_and_can_be_got_over(database: Database) -> None:
    """What the database refuses is one kind of error, and `reopen` works after it."""
    with pytest.raises(StorageError), database.transaction():
        database.write("INSERT INTO nothing VALUES (1)")
    database.reopen()
    assert database.read("SELECT COUNT(*) FROM streams") == [(0,)]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://mes:secret@db/books", "list of processes"),
        ("mysql://db/books", "unknown kind"),
        ("sqlite://books.db", "three slashes"),
        ("sqlite:///", "three slashes"),
    ],
)
def test_a_wrong_address_is_refused_with_the_right_one(address: str, words: str) -> None:
    """No password on the command line, no database that is none."""
    with pytest.raises(ConfigError, match=words) as refused:
        open_database(address)
    assert "secret" not in str(refused.value)
