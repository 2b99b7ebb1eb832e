"""The REST outbox: every event in order, under its id, until the MES has taken it or refused it for good."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from consumer_bench import SOURCE, feed, piece

from edge_agent.consumer.database import Database, open_database
from edge_agent.consumer.rest import Poster, Target, checked, verdict
from edge_agent.consumer.schema import migrate
from edge_agent.consumer.store import Store
from edge_agent.model.errors import ConfigError


class Mes:
    """An MES on a loopback port that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: dict[int, list[int]] = {}
        self.posts: list[tuple[int, str, str]] = []
        mes = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seq = body["data"]["seq"]
                mes.posts.append((seq, self.headers["Idempotency-Key"], self.headers.get("Authorization", "")))
                waiting = mes.answers.get(seq, [])
                self.send_response(waiting.pop(0) if waiting else 201)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"said")

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/events"

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def mes() -> Iterator[Mes]:
    """Give an MES."""
    made = Mes()
    yield made
    made.close()


def left(database: Database) -> int:
    """Return how many events wait."""
    return int(database.read("SELECT COUNT(*) FROM rest_outbox WHERE aside = 0")[0][0])


def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_events_go_out_in_order_each_under_its_id(url: str, mes: Mes) -> None:
    """What the MES refuses for now is sent again before anything behind it; what it refuses for good is put aside with its reason."""
    database = open_database(url)
    migrate(database)
    store = Store(database, outbox=True)
    store.begin()
    mes.answers = {2: [503, 500], 3: [422], 4: [401]}
    poster = Poster(lambda: open_database(url), Target(mes.url, token="t0ken"))
    poster.start()
    feed(store, *(piece(seq, 1, seq) for seq in range(1, 6)))
    poster.wake()
    until(lambda: left(database) == 0)
    poster.stop()
    assert [seq for seq, *_ in mes.posts] == [1, 2, 2, 2, 3, 4, 4, 5]
    assert mes.posts[0][1:] == ('"E1-filler-000000000001"', "Bearer t0ken")
    assert database.read("SELECT id, tries, reason FROM rest_outbox") == [("E1-filler-000000000003", 1, "HTTP 422: said")]
    assert (poster.sent, poster.aside) == (4, 1)
    database.close()


def test_what_waits_outlives_a_restart_and_an_mes_that_is_away(url: str, mes: Mes) -> None:
    """Events are in the outbox as soon as they are in the books; an MES that comes back gets them all, once."""
    database = open_database(url)
    migrate(database)
    store = Store(database, outbox=True)
    store.begin()
    feed(store, piece(1, 1, 1), piece(1, 1, 1), piece(3, 1, 3))
    dead = Poster(lambda: open_database(url), Target("http://127.0.0.1:9/events"))
    dead.start()
    feed(store, piece(2, 1, 2))
    dead.stop()
    assert left(database) == 3
    poster = Poster(lambda: open_database(url), Target(mes.url))
    poster.start()
    until(lambda: left(database) == 0)
    poster.stop()
    assert [seq for seq, *_ in mes.posts] == [1, 2, 3]
    assert database.read("SELECT high FROM streams WHERE source = ?", (SOURCE,)) == [(3,)]
    database.close()


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(200, "done"), (204, "done"), (302, "again"), (400, "aside"), (401, "again"), (404, "again"), (409, "again"), (413, "aside"),
     (422, "aside"), (429, "again"), (500, "again"), (503, "again")],
)  # fmt: skip
def test_what_a_status_means_for_an_event(status: int, meaning: str) -> None:
    """What says something against the event puts it aside; what is about us, or passes, is tried again."""
    assert verdict(status) == meaning


@pytest.mark.parametrize(
    ("address", "words"),
    [("http://mes.plant1/events", "unprotected"), ("https://u:p@mes/events", "list of processes"), ("mes/events", "no address")],
)
def test_an_address_that_gives_secrets_away_is_refused(address: str, words: str) -> None:
    """Neither plain HTTP over a network nor a password on the command line."""
    with pytest.raises(ConfigError, match=words):
        checked(address, allow_insecure=False)
    assert checked("https://mes.plant1/events", allow_insecure=False)
    assert checked("http://127.0.0.1:8080/x", allow_insecure=False)
