"""``edge-agent buffer`` and ``status``: the same answers from a running agent and from its store alone; every mistake is one message."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import apsw
import pytest
from cli_place import Gateway

from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.cli import reach
from edge_agent.config.load import load
from edge_agent.model.errors import DisconnectedError, RejectedError
from edge_agent.model.stream import Record


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch) -> None:
    """Leave the logs of other tests alone, and look for no service on this machine."""
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_agent.status.place._SERVICE", Path("/nonexistent"))


@pytest.fixture
def gateway(tmp_path, capsys, monkeypatch) -> Gateway:
    """A gateway with a configuration."""
    return Gateway(tmp_path, capsys, monkeypatch)


@pytest.fixture(params=["agent", "store", "store of elsewhere"])
def answers(request, gateway):
    """Each way to reach a buffer: how to have somebody there, and the options that name it."""
    if request.param == "agent":
        return gateway.agent, ("-c", gateway.config)
    return nullcontext, (("-c", gateway.config) if request.param == "store" else ("--store", gateway.store))


def events(text: str) -> list[dict]:
    """The CloudEvents of an export."""
    return [json.loads(line) for line in text.splitlines()]


def test_status_tells_what_waits(gateway, answers):
    """Class, stream, since when, bytes, epoch and dead letters, as text and as JSON."""
    epoch = gateway.fill(refused=1)
    there, options = answers
    with there():
        code, out, _ = gateway.run("buffer", "status", *options)
        assert code == 0
        assert f"epoch    {epoch}" in out
        assert "waiting  4 events, 1 telemetry; oldest 2026-10-25T04:00:01.000000Z" in out
        assert "refused  1 dead letter" in out
        rows = [line.split() for line in out.splitlines()]
        assert ["filler", "1-6", "2", "4", "2026-10-25T04:00:03.000000Z"] in rows
        code, out, _ = gateway.run("buffer", "status", "--json", *options)
    report = json.loads(out)
    assert (code, report["waiting_events"], report["waiting_telemetry"], report["dead_letters"]) == (0, 4, 1, 1)


def test_an_export_is_everything_undelivered(gateway, answers):
    """One CloudEvent a line, in the order of delivery; nothing counts as delivered by it."""
    epoch = gateway.fill()
    there, options = answers
    with there():
        code, out, err = gateway.run("buffer", "export", *options)
        again = gateway.run("buffer", "export", *options)[1]
    assert (code, err) == (0, "5 records exported\n")
    assert out == again
    assert [(e["source"], e["data"]["seq"]) for e in events(out)] == [
        *(("/acme/plant1/gw1/filler", n) for n in (3, 4, 5, 6)),
        ("/acme/plant1/gw1/filler/telemetry", 1),
    ]
    assert events(out)[0]["id"] == f"{epoch}-filler-000000000003"


def test_an_export_of_a_range_holds_what_was_delivered(gateway, answers):
    """A stream's numbers come whether they were delivered or not."""
    gateway.fill()
    there, options = answers
    with there():
        out = gateway.run("buffer", "export", "--stream", "filler", "--from", 2, "--to", 4, *options)[1]
    assert [e["data"]["seq"] for e in events(out)] == [2, 3, 4]


def test_an_export_is_the_same_from_everywhere(gateway):
    """The agent, its store, and its store without any configuration give the same bytes."""
    gateway.fill()
    with gateway.agent():
        live = gateway.run("buffer", "export", "-c", gateway.config)[1]
    own = gateway.run("buffer", "export", "-c", gateway.config)[1]
    foreign = gateway.run("buffer", "export", "--store", gateway.store)[1]
    assert live == own == foreign
    assert len(events(live)) == 5


def test_an_export_goes_to_a_new_file(gateway, tmp_path):
    """The file gets its name when it is whole; one that is there is not overwritten; a failure leaves nothing."""
    gateway.fill()
    target = tmp_path / "out.jsonl"
    assert gateway.run("buffer", "export", "-c", gateway.config, "-o", target)[0] == 0
    assert len(events(target.read_text())) == 5
    code, _, err = gateway.run("buffer", "export", "-c", gateway.config, "-o", target)
    assert (code, err) == (1, f"edge-agent: {target} exists already; choose another name\n")
    other = tmp_path / "other.jsonl"
    code, _, err = gateway.run("buffer", "export", "-c", gateway.config, "-o", other, "--stream", "nix")
    assert (code, err) == (1, "edge-agent: there is no stream 'nix'; there is filler, filler/telemetry\n")
    assert sorted(file.name for file in tmp_path.iterdir() if "jsonl" in file.name) == ["out.jsonl"]
    code, _, err = gateway.run("buffer", "export", "-c", gateway.config, "-o", tmp_path / "no" / "file")
    assert (code, err) == (1, f"edge-agent: cannot write {tmp_path / 'no' / 'file'}: No such file or directory\n")


def test_resend_marks_what_was_delivered(gateway, answers):
    """Delivered records wait again, under their numbers; those never delivered are told apart."""
    gateway.fill()
    there, options = answers
    with there():
        code, out, _ = gateway.run("buffer", "resend", "--stream", "filler", "--from", 1, *options)
        assert code == 0
        assert out.startswith("filler 1 to 6: 2 records will be sent again")
        assert "waiting for the first delivery anyway: 4 numbers" in out
        assert [e["data"]["seq"] for e in events(gateway.run("buffer", "export", *options)[1])][:6] == [1, 2, 3, 4, 5, 6]


def test_resend_says_what_it_cannot_find(gateway, answers):
    """An unknown stream, a foreign epoch and numbers beyond the end are each one message."""
    epoch = gateway.fill()
    there, options = answers
    with there():
        for arguments, text in (
            (("--stream", "capper", "--from", 1), "there is no stream 'capper'; there is filler, filler/telemetry"),
            (("--stream", "filler", "--from", 9), "stream filler ends at 6; there is nothing from 9"),
            (("--stream", "filler", "--from", 5, "--to", 1), "from 5 to 1 is no range; name the lower number first"),
            (
                ("--stream", "filler", "--from", 1, "--epoch", "X"),
                f"stream filler has nothing in epoch X; it has in {epoch} (--epoch)",
            ),
        ):
            code, _, err = gateway.run("buffer", "resend", *arguments, *options)
            assert code == 1
            assert err.startswith(f"edge-agent: {text}")
            assert err.count("\n") == 1


def test_dead_letters_are_listed_and_sent_again(gateway, answers):
    """The list tells what and why; a retried letter leaves it and becomes a new late event of its stream."""
    epoch = gateway.fill(refused=3)
    there, options = answers
    with there():
        code, out, _ = gateway.run("buffer", "dead-letters", *options)
        assert code == 0
        assert [line.split()[:2] for line in out.splitlines()[1:4]] == [[str(n), f"{epoch}-filler-{n + 2:012d}"] for n in (1, 2, 3)]
        assert out.count("Packet too large") == 3
        code, out, _ = gateway.run("buffer", "dead-letters", "--retry", 2, *options)
        assert (code, out) == (0, f"2: goes out as {epoch}-filler-000000000007\n")
        assert gateway.run("buffer", "dead-letters", "--retry", "all", *options)[1].count("goes out as") == 2
        assert gateway.run("buffer", "dead-letters", *options)[1] == "no dead letters\n"
        assert gateway.run("buffer", "dead-letters", "--json", *options)[1] == "[]\n"
        code, _, err = gateway.run("buffer", "dead-letters", "--retry", 2, *options)
        assert (code, err) == (1, "edge-agent: there is no dead letter 2; edge-agent buffer dead-letters lists them\n")
        out = gateway.run("buffer", "export", "--stream", "filler", "--from", 7, *options)[1]
    assert [(e["data"]["retry_of"][-2:], e["data"]["late"], e["data"]["total"]) for e in events(out)] == [
        ("04", True, 4),
        ("03", True, 3),
        ("05", True, 5),
    ]


def test_no_store_is_one_message_with_a_remedy(gateway):
    """Neither agent nor store: nothing is made, and the message says how to name one."""
    for options in (("-c", gateway.config), ("--store", gateway.store)):
        for verb in (("status",), ("export",), ("resend", "--stream", "f", "--from", 1), ("dead-letters",)):
            code, _, err = gateway.run("buffer", *verb, *options)
            assert code == 1
            assert err.startswith(f"edge-agent: no agent answers, and there is no store in {gateway.store}; name the folder")
    assert not gateway.store.exists()


def test_a_damaged_store_is_left_to_the_agent(gateway):
    """The command says what happens next, and the file stays as it is."""
    gateway.fill()
    (gateway.store / DATABASE).write_bytes(b"SQLite format 3\0" + b"garbage" * 3000)
    code, _, err = gateway.run("buffer", "status", "-c", gateway.config)
    assert code == 1
    assert "is damaged" in err
    assert "the next start of the agent puts it aside" in err
    assert not list(gateway.store.glob("*.corrupt-*"))


def test_a_locked_store_without_an_answer_is_told(gateway):
    """An agent that holds the lock and answers nowhere is named by its process."""
    gateway.fill()
    with (gateway.store / "lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = gateway.run("buffer", "status", "-c", gateway.config)
    assert code == 1
    assert "another agent (process 4711) is using" in err
    assert "does not answer on its local socket" in err


def test_a_store_that_does_not_name_its_streams_needs_the_configuration(gateway):
    """Records of a store without envelope are exported with the gateway's configuration, and not without."""
    gateway.fill(envelope=False)
    code, _, err = gateway.run("buffer", "export", "--store", gateway.store)
    assert code == 1
    assert "name the configuration of its gateway with --config" in err
    code, out, _ = gateway.run("buffer", "export", "--store", gateway.store, "-c", gateway.config)
    assert (code, len(events(out))) == (0, 5)


def test_looking_drops_nothing_of_a_store_larger_than_the_default(gateway):
    """A foreign store is opened without limits: looking and sending again never evicts or expires anything."""
    gateway.fill()
    settings = []
    original = reach.open_buffer

    def noting(config, **options):
        settings.append(config)
        return original(config, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "open_buffer", noting)
        assert gateway.run("buffer", "resend", "--stream", "filler", "--from", 1, "--store", gateway.store)[0] == 0
    assert settings[0].max_bytes >= 1 << 50
    assert settings[0].resend_window > 100 * 365 * 86_400 * 10**9


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("export", "--from", "3"), "--from, --to and --epoch belong to a --stream"),
        (("export", "-o", "x", "--publish", "mqtt://h"), "either --output or --publish"),
        (("resend", "--stream", "f", "--from", "0"), "Input should be greater than or equal to 1"),
        (("dead-letters", "--retry", "some"), "--retry takes the number of a dead letter, or: all"),
    ],
)
def test_wrong_options_are_told(gateway, arguments, text):
    """A combination that makes no sense is a usage error, exit code 2."""
    code, _, err = gateway.run("buffer", *arguments)
    assert code == 2
    assert text in " ".join(err.replace("│", " ").split())


class FakeSink:
    """A broker that takes what it is told to take."""

    window = 2

    def __init__(self) -> None:
        """Take everything."""
        self.seen: list[Record] = []
        self.refuse: set[int] = set()
        self.break_at: int | None = None
        self.flight = self.most = 0

    async def publish(self, record: Record) -> None:
        """Take one record a turn later."""
        self.flight += 1
        self.most = max(self.most, self.flight)
        await asyncio.sleep(0)
        self.flight -= 1
        if self.break_at is not None and record.key.seq >= self.break_at:
            raise DisconnectedError("broker:1883 closed the connection")
        if record.key.seq in self.refuse and record.entry.kind == "E":
            raise RejectedError("Packet too large")
        self.seen.append(record)


@pytest.fixture
def broker(monkeypatch) -> FakeSink:
    """A broker behind every connect, which notes how it was dialled."""
    sink = FakeSink()

    @asynccontextmanager
    async def connect(config, **how) -> AsyncIterator[FakeSink]:
        sink.config, sink.how = config, how
        yield sink

    monkeypatch.setattr("edge_agent.publish.mqtt.connect", connect)
    return sink


def test_a_dead_gateways_store_is_published(gateway, broker):
    """Everything undelivered goes out in order, flagged as sent again, within the window, and says nothing about the agent."""
    gateway.fill()
    code, _, err = gateway.run("buffer", "export", "--store", gateway.store, "--publish", "mqtts://b", "--ca", "system")
    assert (code, err) == (0, "5 records published\n")
    assert [(r.key.stream, r.key.seq, r.resent) for r in broker.seen] == [
        *(("filler", n, True) for n in (3, 4, 5, 6)),
        ("filler/telemetry", 1, True),
    ]
    assert broker.most == 2
    assert (broker.config.commands, broker.config.client_id) == ((), "gw1-export")
    assert not broker.how["will"].retain
    assert not broker.how["will"].topic.endswith("/status")
    assert len(events(gateway.run("buffer", "export", "--store", gateway.store)[1])) == 5


def test_a_broken_publication_says_how_far_it_came(gateway, broker):
    """The message has the reason, the count and that it may be run again."""
    gateway.fill()
    broker.break_at = 5
    code, _, err = gateway.run("buffer", "export", "--store", gateway.store, "--publish", "mqtt://b", "--allow-insecure")
    assert code == 1
    assert err.startswith("edge-agent: broker:1883 closed the connection; 2 records had arrived. Run it again")


def test_what_the_broker_refuses_is_named(gateway, broker):
    """A refused record does not stop the others, and the exit code tells."""
    gateway.fill()
    broker.refuse = {4}
    code, _, err = gateway.run("buffer", "export", "--store", gateway.store, "--publish", "mqtt://b", "--allow-insecure")
    assert code == 1
    assert "filler-000000000004: Packet too large" in err
    assert "4 records published" in err
    assert err.endswith("edge-agent: the broker refused 1 record; they are still in the store\n")


def test_publishing_is_for_stores_without_an_agent(gateway, broker):
    """A running agent publishes itself."""
    gateway.fill()
    with gateway.agent():
        code, _, err = gateway.run("buffer", "export", "-c", gateway.config, "--publish", "mqtt://b", "--allow-insecure")
    assert code == 1
    assert "the agent is running and publishes itself" in err
    assert not broker.seen


def test_plain_mqtt_needs_a_word(gateway):
    """The refusal speaks in options of the command."""
    gateway.fill()
    code, _, err = gateway.run("buffer", "export", "--store", gateway.store, "--publish", "mqtt://b")
    assert code == 1
    assert "--allow-insecure" in err
    assert "allow_insecure" not in err


def test_status_has_three_exit_codes(gateway):
    """0 ok, 1 degraded with the problems, 2 nobody there; what a device said does not steer the terminal."""
    code, out, err = gateway.run("status", "-c", gateway.config)
    assert (code, out) == (2, "")
    assert err.startswith("no agent gw1 is running (nobody listens on ")
    with gateway.agent():
        code, out, _ = gateway.run("status", "-c", gateway.config)
        assert code == 0
        assert "1,234 records since the start, 1 refused; acknowledged in 1.2 ms (p50), 3.5 ms (p95)" in out
        gateway.health = "degraded"
        code, out, _ = gateway.run("status", "-c", gateway.config)
        assert code == 1
        assert "  ! device plc1: \\x1b[31mno route to host" in out
        code, out, _ = gateway.run("status", "-c", gateway.config, "--json")
        assert (code, json.loads(out)["agent"]) == (1, "gw1")


def test_a_store_stays_its_owners(gateway, monkeypatch):
    """Run as root, the command goes on as the owner of the store, so that no file in it belongs to root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to give files away")
    gateway.fill()
    for file in (gateway.store, *gateway.store.iterdir()):
        os.chown(file, 4711, 4712)
    became = []
    monkeypatch.setattr(os, "setegid", became.append)
    monkeypatch.setattr(os, "seteuid", became.append)
    reach.become_owner(gateway.store)
    assert became == [4712, 4711]


async def test_the_agent_finds_everything_after_the_command_was_there(gateway):
    """Looking into a store leaves it as a clean stop does: same epoch, same numbers, same records."""
    epoch = await asyncio.to_thread(gateway.fill)
    await asyncio.to_thread(gateway.run, "buffer", "status", "--store", gateway.store)
    async with open_buffer(load(gateway.config).agent.buffer) as buffer:
        assert (buffer.epoch, buffer.fresh) == (epoch, False)
        assert [r.key.seq for r in await buffer.peek("mqtt", None, 10, "E")] == [3, 4, 5, 6]


def test_a_newer_store_says_so_and_nothing_of_an_agent(gateway):
    """Cause and remedy, without words about an agent that keeps silent: none runs."""
    gateway.fill()
    connection = apsw.Connection(str(gateway.store / "buffer.db"))
    connection.pragma("user_version", 99)
    connection.execute("update store set value = '99' where key = 'format'")
    connection.close()
    code, _, err = gateway.run("buffer", "status", "-c", gateway.config)
    assert code == 78
    assert "written by a newer edge-agent (format 99, this one knows 1); install that version again" in err
    assert "local socket" not in err


def test_no_agent_is_told_with_whole_paths(gateway, monkeypatch):
    """Whoever asks from another folder sees where a relative buffer.path leads from there."""
    monkeypatch.chdir(gateway.config.parent)
    gateway.config.write_text(gateway.config.read_text().replace(str(gateway.store), "./elsewhere"))
    code, _, err = gateway.run("status", "-c", gateway.config)
    assert code == 2
    assert str(gateway.config.parent / "elsewhere") in err
