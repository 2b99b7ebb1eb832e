"""``edge-agent adopt`` at a terminal and as root: whoever is asked can say no, and no file is taken from the service."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from cli_place import CONFIG, Gateway

from edge_agent.agent import adopt
from edge_agent.agent.announce import _REFRESH
from edge_agent.agent.clock import WallClock
from edge_agent.agent.origin import Seen, packed
from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.config.load import load

TIME = "2026-10-25T04:00:00Z"
OLD = "01JB0000000000000000000000"
CHECKPOINT = "edge/v1/acme/plant1/_agent/gw1/checkpoint/filler"
STATUS = "edge/v1/acme/plant1/_agent/gw1/status"
USER, GROUP = 4711, 4712


class Keeping:
    """A broker that keeps the checkpoint of a gateway that is gone, and shows its ``statuses`` one after another, the last one for ever."""

    def __init__(self, *statuses: bytes | None) -> None:
        """Show nothing yet."""
        self.statuses = list(statuses or (None,))
        self.looks = 0

    async def retained(self, topics: Sequence[str]) -> Mapping[str, bytes]:
        """Return what is kept of the topics."""
        if STATUS in topics:
            self.looks += 1
            now = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            return {} if now is None else {STATUS: now}
        seen = Seen("filler", TIME, OLD, 9, 7, ("r",), {"total": 70}, resume=packed(9, TIME, {"counter": b"\x80"}))
        return {CHECKPOINT: msgspec.json.encode(seen)} if CHECKPOINT in topics else {}


def status(word: str, time: str = TIME, session: str = "s") -> bytes:
    """Return a status as agents keep it."""
    return msgspec.json.encode({"status": word, "time": time, "session": session})


@pytest.fixture(autouse=True)
def asked(monkeypatch) -> Keeping:
    """Leave the logs of other tests alone, look for no service on this machine, and ask the broker above."""
    kept = Keeping()

    @asynccontextmanager
    async def broker(_: object) -> AsyncIterator[Keeping]:
        yield kept

    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_agent.status.place._SERVICE", Path("/nonexistent"))
    monkeypatch.setattr(importlib.import_module("edge_agent.cli.adopt"), "broker_of", broker)  # the name is a command, too
    return kept


@pytest.fixture
def gateway(tmp_path, capsys, monkeypatch) -> Gateway:
    """A blank gateway with a configuration."""
    return Gateway(tmp_path, capsys, monkeypatch)


@pytest.fixture
def typed(monkeypatch) -> Iterator[int]:
    """A terminal as standard input; what is written to the descriptor was typed there."""
    keyboard, screen = os.openpty()
    with os.fdopen(screen, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield keyboard
    os.close(keyboard)


async def follows(gateway: Gateway) -> str | None:
    """Return the epoch that the store goes on from."""
    async with open_buffer(load(gateway.config).agent.buffer, as_found=True) as buffer:
        assert await buffer.states("filler") == ({"counter": b"\x80"}, 1_792_900_800 * 10**9)
        return buffer.previous_epoch


@pytest.mark.parametrize("answer", ["y", "YES ", "Yes"])
def test_whoever_agrees_takes_the_streams_over(gateway, typed, answer):
    """The table comes first, then the question; the store goes on from the old epoch."""
    os.write(typed, f"{answer}\n".encode())
    code, out, err = gateway.run("adopt", "-c", gateway.config)
    assert (code, "asking the broker" in err) == (0, True)
    places = [out.index(words) for words in ("total 70", "Take these streams over? [y/N]", f"follows {OLD}")]
    assert places == sorted(places)
    assert asyncio.run(follows(gateway)) == OLD


@pytest.mark.parametrize("answer", ["", "n", "no", "yep", "j"])
def test_anything_else_changes_nothing(gateway, typed, answer):
    """The default is no: nothing is written, not even the folder."""
    os.write(typed, f"{answer}\n".encode())
    code, out, err = gateway.run("adopt", "-c", gateway.config)
    assert (code, "Take these streams over?" in out) == (1, True)
    assert err.endswith("edge-agent: nothing was changed\n")
    assert not gateway.store.exists()


def test_a_terminal_that_is_closed_at_the_question_changes_nothing(gateway, typed):
    """End of input (Ctrl-D) is a no in words, not a traceback."""
    os.write(typed, b"\x04")
    code, _, err = gateway.run("adopt", "-c", gateway.config)
    assert (code, err.endswith("edge-agent: nothing was changed\n")) == (1, True)
    assert not gateway.store.exists()


def test_without_a_terminal_nobody_is_asked(gateway, monkeypatch):
    """A script has to say --yes; without it nothing is changed and the option is named."""
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, out, err = gateway.run("adopt", "-c", gateway.config)
    assert (code, "--yes" in err, "Take these streams over?" in out) == (1, True, False)
    assert not gateway.store.exists()


ONLINE = status("online")
SHOWN = [
    pytest.param([None], "unknown", id="there_is_none"),
    pytest.param([b"up and well"], "unknown", id="not_an_agents"),
    pytest.param([b'{"status":"\xff"}'], "unknown", id="no_text"),
    pytest.param([b'{"a":' * 5000 + b"1" + b"}" * 5000], "unknown", id="nested_too_deep"),
    pytest.param([status("offline")], "offline", id="its_will_or_its_goodbye"),
    pytest.param([ONLINE, ONLINE, status("online", "2026-10-25T04:00:10Z")], "online", id="said_again"),
    pytest.param([ONLINE, status("online", session="t")], "online", id="said_by_another_life"),
    pytest.param([ONLINE, ONLINE, status("offline")], "offline", id="its_will_comes_while_it_is_watched"),
    pytest.param([ONLINE, None], "unknown", id="taken_away_while_it_is_watched"),
    pytest.param([ONLINE], "silent", id="never_said_again"),
]


@pytest.mark.parametrize(("statuses", "presence"), SHOWN)
async def test_whether_the_old_gateway_is_there_is_told_by_its_status(gateway, monkeypatch, statuses, presence):
    """One that says online is watched for longer than it takes it to say so again; every other answer comes as soon as it is sure."""
    assert adopt._NOTICED > 1.5 * _REFRESH
    monkeypatch.setattr(adopt, "_LOOK", 0.01)
    if presence == "silent":
        monkeypatch.setattr(adopt, "_NOTICED", 0.05)
    broker = Keeping(*statuses)
    async with asyncio.timeout(5):
        offer = await adopt.look(load(gateway.config), WallClock(), broker)
    assert (offer.presence, [one.stream for one in offer.units]) == (presence, ["filler"])
    assert broker.looks > 1 if presence == "silent" else broker.looks == len(statuses)


@pytest.mark.parametrize(
    ("statuses", "code", "words"),
    [
        ([ONLINE], 0, "it is taken for gone"),
        ([None], 0, "make sure that it does not run"),
        ([status("offline")], 0, ""),
        ([ONLINE, status("online", "2026-10-25T04:00:10Z")], 1, "is online: another gateway publishes under this name"),
    ],
    ids=["silent", "unknown", "offline", "online"],
)
def test_what_is_not_sure_is_said_before_anybody_agrees(gateway, monkeypatch, asked, statuses, code, words):
    """A gateway that may run still is named as such above the table; one that does keeps its streams, whatever was agreed to."""
    monkeypatch.setattr(adopt, "_LOOK", 0.01)
    if statuses == [ONLINE]:
        monkeypatch.setattr(adopt, "_NOTICED", 0.05)
    asked.statuses = list(statuses)
    ended, out, err = gateway.run("adopt", "-c", gateway.config, "--yes")
    assert (ended, gateway.store.exists()) == (code, code == 0)
    assert words in (err if code else out.partition("total 70")[0])
    assert ("taken for gone" in out, "make sure" in out) == ("taken for gone" in words, "make sure" in words)


@pytest.fixture
def service(capsys, monkeypatch) -> Iterator[Gateway]:
    """A gateway whose folder belongs to a user of its own, where that user can reach it; the process is root again afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="adopt-"))
    folder.chmod(0o755)
    made = Gateway(folder, capsys, monkeypatch)
    try:
        yield made
    finally:
        os.seteuid(os.getuid())
        os.setegid(os.getgid())
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("there", [True, False], ids=["directory", "parent_only"])
def test_as_root_no_file_of_the_service_becomes_roots(service, there):
    """The directory belongs to the service's user, or the one in which it is to be made does: so does everything in it afterwards."""
    home = service.config.parent / "lib"
    home.mkdir()
    service.store = home / "buffer"
    service.config.write_text(json.dumps(CONFIG | {"buffer": {"path": str(service.store), "min_free": 0}}))
    if there:
        service.store.mkdir(mode=0o700)
    for path in (home, *home.iterdir()):
        os.chown(path, USER, GROUP)
    code, _, err = service.run("adopt", "-c", service.config, "--yes")
    assert code == 0, err
    files = [service.store, *service.store.iterdir()]
    assert service.store / DATABASE in files
    assert {(str(file), file.stat().st_uid, file.stat().st_gid) for file in files} == {(str(file), USER, GROUP) for file in files}
