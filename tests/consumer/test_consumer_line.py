"""The demo line, as its events arrived in a run with every fault: the books, the OEE and the report are those of the line's truth."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from consumer_bench import SOURCE, line, play

from edge_agent.consumer import oee, page, report
from edge_agent.consumer.completeness import proofs
from edge_agent.consumer.database import Database, open_database
from edge_agent.consumer.event import micros
from edge_agent.consumer.schema import migrate
from edge_agent.consumer.store import Store
from edge_agent.model.errors import EdgeAgentError


class _UndoneError(Exception):
    """Ends a test's transaction without a commit."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def line_books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Give the books of the line, made once for each kind of database."""
    sqlite = request.param == "sqlite"
    database = open_database(
        f"sqlite:///{tmp_path_factory.mktemp('line')}/b.db" if sqlite else request.getfixturevalue("cluster").database()
    )
    migrate(database)
    store = Store(database)
    store.begin()
    play(store, line())
    yield database
    database.close()


@pytest.fixture
def books(line_books: Database) -> Iterator[Database]:
    """Give the books of the line; what a test writes is undone."""
    with contextlib.suppress(_UndoneError), line_books.transaction():
        yield line_books
        raise _UndoneError


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Database]:
    """Give an empty database in a file."""
    database = open_database(f"sqlite:///{tmp_path}/b.db")
    migrate(database)
    yield database
    database.close()


def test_the_books_are_the_truth_of_the_line(books: Database) -> None:
    """Orders, maintenance, shifts, samples, energy and downtimes are those that the scenario has."""
    orders = books.read("SELECT order_id, total, scrap, good FROM order_totals ORDER BY order_id")
    assert orders == [("WO-1001", 1432, 57, 1375), ("WO-1002", 120, 5, 115)]
    outside = books.read("SELECT mode, SUM(delta) FROM counts WHERE order_id IS NULL GROUP BY mode")
    assert outside == [("Maintenance", 5)]
    assert books.read("SELECT COUNT(*) FROM quality WHERE verdict = 'nok'") == [(3,)]
    assert books.read("SELECT COUNT(*) FROM quality") == [(18,)]
    assert float(books.read("SELECT SUM(delta) FROM energy")[0][0]) == pytest.approx(2.83)
    stops = books.read(
        "SELECT category, duration_s, micro, reason_code FROM downtimes WHERE order_id = 'WO-1001' ORDER BY began_us"
    )
    assert stops == [("starved", 61.0, 0, None), ("faulted", 134.0, 0, "2101"), ("starved", 4.0, 1, None)]
    assert books.read("SELECT * FROM consumer_alarms") == []
    assert books.read("SELECT state, last_category, order_id FROM current_state") == [("STALE", "stopped", "WO-1002")]


def test_the_oee_of_the_order_comes_from_events_alone(books: Database) -> None:
    """WO-1001: availability 0.77405, effectiveness 0.96, quality 0.96020, OEE 0.71351."""
    figures = oee.order(books, oee.unit_of(books, "filler"), "WO-1001", pri=0.48)
    assert (figures.pbt_s, figures.apt_s) == (925.0, 716.0)
    assert [figures.availability, figures.effectiveness, figures.quality] == pytest.approx([0.77405, 0.96, 0.96020], abs=5e-6)
    assert figures.oee == pytest.approx(0.71351, abs=5e-6)


def test_the_shifts_have_what_was_made_in_them(books: Database) -> None:
    """Shift N has 840 of which 33 are scrap, shift M 712 and 29; maintenance counts for nobody."""
    unit = oee.unit_of(books, None)
    made = {}
    for name in ("N", "M"):
        window = report.shift_window(books, unit, name, "2026-10-25")
        figures = report.figures(books, unit, window, pri=0.48)
        made[name] = (figures.produced, figures.scrap, figures.good)
    assert made == {"N": (840, 33, 807), "M": (712, 29, 683)}


def test_what_is_planned_is_no_loss(books: Database) -> None:
    """A stop with a reason that the caller calls planned is taken out of the planned busy time."""
    figures = oee.order(books, oee.unit_of(books, None), "WO-1001", pri=0.48, planned=["2101"])
    assert (figures.planned_s, figures.pbt_s) == (134.0, 791.0)


def test_master_data_give_the_ideal_time(books: Database) -> None:
    """Without master data there is no effectiveness; the table `ideals` gives it, the product's own before the unit's."""
    unit = oee.unit_of(books, None)
    assert oee.order(books, unit, "WO-1001").oee is None
    books.write("INSERT INTO ideals VALUES (?, '', 0.5)", (unit.subject,))
    books.write("INSERT INTO ideals VALUES (?, '4711', 0.48)", (unit.subject,))
    assert oee.order(books, unit, "WO-1001").pri_s == 0.48


def test_the_books_say_up_to_when_they_are_complete(books: Database) -> None:
    """Both streams are complete up to their last checkpoint, and not up to an hour later."""
    reached = proofs(books, micros("2026-10-25T05:08:30Z"))
    assert [one.complete for one in reached] == [True, True]
    later = proofs(books, micros("2026-10-25T06:00:00Z"), SOURCE)
    assert [one.complete for one in later] == [False]
    assert "everything up to 2026-10-25T05:08:3" in later[0].words()


def test_a_part_of_the_line_books_the_same_in_any_pieces(fresh: Database) -> None:
    """A consumer that begins anew after every 200 messages, each of which comes twice, has the same books."""
    messages = list(line())
    for first in range(0, len(messages), 200):
        store = Store(fresh)
        store.begin()
        play(store, iter(messages[max(0, first - 50) : first + 200]))
    assert fresh.read("SELECT total, scrap FROM order_totals ORDER BY order_id") == [(1432, 57), (120, 5)]


def test_a_dead_agents_unit_is_stale(fresh: Database) -> None:
    """A unit is what was told last while its agent lives; offline, or with its PLC away, it is STALE, never running."""
    messages, store = list(line()), Store(fresh)
    store.begin()
    offline = next(i for i, (topic, _, body) in enumerate(messages) if topic.endswith("/status") and b'"status":"offline"' in body)
    play(store, iter(messages[:offline]))
    state = "SELECT state, last_category FROM current_state"
    assert store.database.read(state) == [("stopped", "stopped")]
    store.database.write("UPDATE devices SET up = 0 WHERE device = 'plc1'")
    assert store.database.read(state) == [("STALE", "stopped")]
    store.database.write("UPDATE devices SET up = 1")
    play(store, iter(messages[offline : offline + 1]))
    assert store.database.read(state) == [("STALE", "stopped")]


class Reader(HTMLParser):
    """Notes what a page refers to, and tags that are not closed in order."""

    VOID = frozenset({"meta", "i-void", "br", "link", "polyline", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [f"{name}={value}" for name, value in attrs if name in {"src", "href", "srcset", "action"}]
        self.references += [tag] if tag in {"script", "link", "iframe", "img"} else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Reader:
    """Read a page."""
    reader = Reader()
    reader.feed(html)
    return reader


def windows(books: Database) -> Iterator[report.Window]:
    """Yield an order, both shifts, and a time."""
    unit = oee.unit_of(books, None)
    yield report.order_window(books, unit, "WO-1001")
    yield report.shift_window(books, unit, "N", None)
    yield report.shift_window(books, unit, "M", None)
    yield report.time_window(books, unit, micros("2026-10-25T04:50:00Z"), micros("2026-10-25T05:00:00Z"))


def test_the_report_needs_nothing_but_itself(books: Database) -> None:
    """The page is well formed, refers to nothing outside, has no script, and shows what the books have."""
    unit = oee.unit_of(books, None)
    for window in windows(books):
        html = page.render(report.compose(books, unit, window, pri=0.48))
        reader = read(html)
        assert (reader.open, reader.wrong, reader.references) == ([], [], [])
        assert "http" not in html
        assert "@media (prefers-color-scheme: dark)" in html
        assert "viewport" in html
    reader = read(page.render(report.compose(books, unit, report.order_window(books, unit, "WO-1001"), pri=0.48)))
    shown = " ".join(reader.text)
    for fact in (
        "71.4 %",
        "1,432",
        "1,375",
        "57",
        "Infeed star guard open",
        "2101",
        "agent_down",
        "Everything up to 06:06:00 is here",
    ):
        assert fact in shown


def test_what_a_plc_writes_cannot_become_markup(books: Database) -> None:
    """Texts from outside are shown, not run."""
    unit = oee.unit_of(books, None)
    for table, column in (("alarms", "message"), ("downtimes", "reason_text"), ("gaps", "reason"), ("orders", "product")):
        books.write(f"UPDATE {table} SET {column} = ?", ("<script>alert(1)</script>\"'>",))
    reader = read(page.render(report.compose(books, unit, report.order_window(books, unit, "WO-1001"), pri=0.48)))
    assert reader.references == []
    assert (reader.open, reader.wrong) == ([], [])


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda books, unit: report.order_window(books, unit, "WO-9"), "WO-9"),
        (lambda books, unit: report.shift_window(books, unit, "X", None), "there are: M of 2026-10-25"),
        (lambda books, _: oee.unit_of(books, "press"), "there are: acme/plant1/packaging/line3/filler"),
        (lambda books, unit: report.time_window(books, unit, 5, 5), "not after"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(books: Database, ask: Callable[..., object], words: str) -> None:
    """An order, shift or unit that nobody told of is refused, naming those that are known."""
    with pytest.raises(EdgeAgentError, match=words):
        ask(books, oee.unit_of(books, None))
