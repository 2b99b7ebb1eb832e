"""The local API: what it answers, what it refuses, and that nothing but the UNIX socket has verbs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from edge_agent.model.errors import DisconnectedError, EdgeAgentError, StorageError
from edge_agent.status.app import application
from edge_agent.status.client import NoAgentError, RemoteDesk
from edge_agent.status.place import address, candidates, socket_of
from edge_agent.status.report import (
    BufferReport,
    DeliveryReport,
    LetterReport,
    ResendWish,
    Resent,
    Retried,
    RetryWish,
    Status,
    Wanted,
)
from edge_agent.status.server import bind, serving

T = TypeVar("T")

BUFFER = BufferReport("/b", "E" * 26, True, "", 3, 1, "2026-10-25T04:00:00.000000Z", 4096, 1, [])
STATUS = Status(
    "ok", [], "gw1", "0.1.0", "s", 1, "2026-10-25T04:00:00.000000Z", "2026-10-25T04:00:00.000000Z", "c", {}, {}, [],
    DeliveryReport(0, 0, None, None, None), BUFFER,
)  # fmt: skip
LETTER = LetterReport(7, "id", "filler", "t", "2026-10-25T04:00:00.000000Z", "rejected", "no", 10)


class FakeDesk:
    """Notes what it is asked; fails as it is told."""

    def __init__(self) -> None:
        """Answer everything."""
        self.asked: list[object] = []
        self.error: Exception | None = None
        self.pieces = [b'{"a":1}\n', b'{"a":2}\n']
        self.error_after: int | None = None
        self.hold: asyncio.Event | None = None

    def _note(self, what: object) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    async def status(self) -> Status:
        """Return a constant."""
        self._note("status")
        return STATUS

    async def buffer(self) -> BufferReport:
        """Return a constant."""
        self._note("buffer")
        return BUFFER

    async def export(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Yield the pieces, and fail among them when told."""
        self._note(wanted)
        for number, piece in enumerate(self.pieces):
            if number == self.error_after:
                raise StorageError("the disk died")
            yield piece
            if self.hold is not None:
                await self.hold.wait()

    async def resend(self, wish: ResendWish) -> Resent:
        """Claim to have done it."""
        self._note(wish)
        return Resent(wish.stream, "E", wish.from_seq, 9, 5, 1, 2)

    async def dead_letters(self, after: int, limit: int) -> Sequence[LetterReport]:
        """Return one."""
        self._note((after, limit))
        return [LETTER]

    async def retry(self, wish: RetryWish) -> Sequence[Retried]:
        """Claim to have done it."""
        self._note(wish)
        return [Retried(number, "new") for number in wish.numbers]


@pytest.fixture
def desk() -> FakeDesk:
    """Somebody who answers."""
    return FakeDesk()


@pytest.fixture
async def place(tmp_path: Path, desk: FakeDesk) -> AsyncIterator[Path]:
    """The socket of a served desk."""
    path = tmp_path / "gw1.sock"
    async with serving(application(desk.status, desk, verbs=True), path):
        yield path


async def call(path: Path, question: Callable[[RemoteDesk], object]) -> object:
    """Ask from another thread, as another process would."""
    return await asyncio.to_thread(lambda: asyncio.run(question(RemoteDesk(path))))  # type: ignore[arg-type]


async def collect(lines: AsyncIterator[bytes]) -> bytes:
    """Return everything."""
    return b"".join([piece async for piece in lines])


async def raw(path: Path, request: bytes) -> bytes:
    """Send bytes and return the whole answer."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_every_question_reaches_the_desk(place, desk):
    """Status, figures, pages, wishes: what is asked at one end arrives at the other, and the answer comes back whole."""
    assert await call(place, lambda remote: remote.status()) == STATUS
    assert await call(place, lambda remote: remote.buffer()) == BUFFER
    assert await call(place, lambda remote: remote.dead_letters(3, 50)) == [LETTER]
    assert await call(place, lambda remote: remote.retry(RetryWish([7, 8]))) == [Retried(7, "new"), Retried(8, "new")]
    answer = await call(place, lambda remote: remote.resend(ResendWish("filler", 5)))
    assert answer == Resent("filler", "E", 5, 9, 5, 1, 2)
    assert desk.asked == ["status", "buffer", (3, 50), RetryWish([7, 8]), ResendWish("filler", 5)]


async def test_an_export_streams_what_was_wanted(place, desk):
    """Stream, epoch and numbers travel in the query, and all lines come back."""
    wanted = Wanted("filler/telemetry", "E1", 5, 9)
    assert await call(place, lambda remote: collect(remote.export(wanted))) == b'{"a":1}\n{"a":2}\n'
    assert await call(place, lambda remote: collect(remote.export(Wanted()))) == b'{"a":1}\n{"a":2}\n'
    assert desk.asked == [wanted, Wanted()]


async def test_an_empty_export_is_empty(place, desk):
    """Nothing undelivered is no error and no line."""
    desk.pieces = []
    assert await call(place, lambda remote: collect(remote.export(Wanted()))) == b""


async def test_an_export_that_breaks_off_is_never_taken_for_whole(place, desk):
    """When the store fails in the middle the other end is told, however many lines had come."""
    desk.error_after = 1
    with pytest.raises(DisconnectedError, match="went away in the middle of its answer"):
        await call(place, lambda remote: collect(remote.export(Wanted())))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (EdgeAgentError("there is no stream 'x'"), "there is no stream 'x'"),
        (StorageError("disk away"), "disk away"),
        (RuntimeError("bug"), "RuntimeError: bug; the agent's log has more"),
    ],
)
async def test_a_refusal_comes_in_its_words(place, desk, error, text):
    """What the desk says stands in the error at the other end, for looks, exports and wishes."""
    desk.error = error
    with capture_logs():
        for question in (
            lambda remote: remote.buffer(),
            lambda remote: collect(remote.export(Wanted())),
            lambda remote: remote.resend(ResendWish("x", 1)),
        ):
            with pytest.raises(EdgeAgentError) as told:
                await call(place, question)
            assert str(told.value) == text


async def test_a_bug_is_in_the_log_with_its_traceback(place, desk):
    """An unexpected exception is told to the log; the server goes on."""
    desk.error = RuntimeError("bug")
    with capture_logs() as logs, pytest.raises(EdgeAgentError):
        await call(place, lambda remote: remote.buffer())
    assert [(line["event"], line["exc_info"]) for line in logs] == [("status.failed", desk.error)]
    desk.error = None
    assert await call(place, lambda remote: remote.buffer()) == BUFFER


@pytest.mark.parametrize(
    ("head", "body", "code"),
    [
        ("GET /api/nothing", b"", 404),
        ("GET /api/buffer/resend", b"", 405),
        ("POST /api/status", b"{}", 405),
        ("POST /api/buffer/resend", b"{}", 400),
        ("POST /api/buffer/resend", b'{"stream":"f","from_seq":1,"extra":1}', 400),
        ("POST /api/buffer/resend", b'{"stream":"f","from_seq":"1"}', 400),
        ("POST /api/buffer/retry", b"not json", 400),
        ("POST /api/buffer/resend", b'{"stream":"\xff","from_seq":1}', 400),
        ("POST /api/buffer/resend", b'{"\xff":1}', 400),
        ("POST /api/buffer/retry", b"[" + b"1," * 40_000 + b"1]", 413),
        ("GET /api/buffer/export?first=x", b"", 400),
    ],
)
async def test_what_is_no_proper_request_is_refused(place, desk, head, body, code):
    """Unknown paths, wrong methods, bodies that say too little, too much or are too large: a code and words, nothing done."""
    request = f"{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    answer = await raw(place, request)
    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert b'{"error":"' in answer
    assert not desk.asked


async def test_without_verbs_nothing_can_be_asked_for(tmp_path, desk):
    """An app made for another listener than the UNIX socket has no POST route at all."""
    path = tmp_path / "look.sock"
    async with serving(application(desk.status, desk, verbs=False), path):
        for name in ("resend", "retry"):
            answer = await raw(
                path, f"POST /api/buffer/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert answer.startswith(b"HTTP/1.1 404 ")
    assert not desk.asked


async def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path, desk):
    """Mode 0660 whatever the umask says; nothing listens on TCP; the name is gone afterwards."""
    path = tmp_path / "gw1.sock"
    before = os.umask(0)
    try:
        async with serving(application(desk.status, desk, verbs=True), path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            families = {s.family for s in listening()}
            assert families <= {socket.AF_UNIX}
    finally:
        os.umask(before)
    assert not path.exists()
    with pytest.raises(NoAgentError):
        RemoteDesk(path).probe()


def listening() -> list[socket.socket]:
    """Return this process's sockets that accept connections."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        try:
            duplicate = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        try:
            if duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append(duplicate)
        except OSError:
            pass
        finally:
            duplicate.close()
    return found


async def test_the_leftover_of_a_killed_agent_is_replaced(tmp_path, desk):
    """A socket on which nobody listens does not stop the next start."""
    path = tmp_path / "gw1.sock"
    bind(path).close()
    assert path.is_socket()
    async with serving(application(desk.status, desk, verbs=True), path):
        assert await call(path, lambda remote: remote.buffer()) == BUFFER


async def test_a_socket_in_use_is_left_to_its_owner(place, desk):
    """A second agent at the same place runs on without a socket, says so, and takes nothing away."""
    other = FakeDesk()
    with capture_logs() as logs:
        async with serving(application(other.status, other, verbs=True), place):
            await call(place, lambda remote: remote.buffer())
    assert [(line["event"], line["reason"]) for line in logs] == [("status.not_served", f"another agent answers on {place}")]
    assert (desk.asked, other.asked) == (["buffer"], [])
    assert await call(place, lambda remote: remote.buffer()) == BUFFER


async def test_a_place_that_cannot_be_used_is_logged_and_nothing_more(tmp_path, desk):
    """No directory, no socket: the block runs all the same."""
    ran = False
    with capture_logs() as logs:
        async with serving(application(desk.status, desk, verbs=True), tmp_path / "missing" / "gw1.sock"):
            ran = True
    assert ran
    assert [(line["event"], line["log_level"]) for line in logs] == [("status.not_served", "error")]


@pytest.mark.parametrize("what", ["the socket", "its folder"])
async def test_a_socket_that_is_deleted_is_made_again(tmp_path, desk, monkeypatch, what):
    """Whoever tidies up does not lock people out until the next restart; who was connected stays so, and nothing is left at the end."""
    monkeypatch.setattr("edge_agent.status.server._LOOK", 0.01)
    path = tmp_path / "run" / "gw1.sock"
    path.parent.mkdir()
    async with serving(application(desk.status, desk, verbs=True), path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        await call(path, lambda remote: remote.buffer())  # behind the other one: both have been accepted
        path.unlink()
        if what == "its folder":
            path.parent.rmdir()
            with capture_logs() as logs:
                async with asyncio.timeout(5):
                    while not logs:  # noqa: ASYNC110 - ends with the first try
                        await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
            assert [(line["event"], line["log_level"]) for line in logs] == [("status.not_served", "error")]
            path.parent.mkdir()
        async with asyncio.timeout(5):
            while not path.exists():  # noqa: ASYNC110 - a file system rings no bell
                await asyncio.sleep(0.01)
        assert await call(path, lambda remote: remote.buffer()) == BUFFER
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        writer.write(b"GET /api/buffer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
        writer.close()
        assert len(listening()) == 1
    assert not path.exists()
    assert listening() == []


async def test_what_somebody_else_put_in_its_place_is_left_alone(tmp_path, desk, monkeypatch):
    """The socket of another agent stays, while this one runs and when it ends."""
    monkeypatch.setattr("edge_agent.status.server._LOOK", 0.01)
    path = tmp_path / "gw1.sock"
    async with serving(application(desk.status, desk, verbs=True), path):
        path.rename(tmp_path / "moved")  # its inode stays taken
        with bind(path):
            taken = path.stat().st_ino
            await asyncio.sleep(0.05)
            assert path.stat().st_ino == taken
    assert path.stat().st_ino == taken


async def test_a_very_long_path_works(tmp_path, desk):
    """A path longer than a socket address is reached all the same, by both ends."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    path = folder / "gw1.sock"
    async with serving(application(desk.status, desk, verbs=True), path):
        assert await call(path, lambda remote: remote.buffer()) == BUFFER
    assert not path.exists()
    with address(path) as name:
        assert len(name) < 108


async def test_an_open_export_does_not_hold_the_stop_up(tmp_path, desk):
    """At the end a request that still streams is cut after its grace; its reader notices."""
    desk.hold = asyncio.Event()
    path = tmp_path / "gw1.sock"
    with capture_logs():
        async with serving(application(desk.status, desk, verbs=True), path):
            reading = asyncio.create_task(call(path, lambda remote: collect(remote.export(Wanted()))))
            async with asyncio.timeout(5):
                while not desk.asked:  # noqa: ASYNC110 - the other thread makes no event here
                    await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 3
    with pytest.raises(DisconnectedError):
        await reading


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/var/b/gw1.sock"),
        ({"RUNTIME_DIRECTORY": ""}, "/var/b/gw1.sock"),
        ({"RUNTIME_DIRECTORY": "/run/edge-agent"}, "/run/edge-agent/gw1.sock"),
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, "/run/a/gw1.sock"),
    ],
)
def test_the_socket_is_where_systemd_or_the_buffer_is(environment, expected):
    """The runtime directory, the first of several, else the buffer's; a command looks there, in the buffer and in the service's."""
    assert socket_of("gw1", Path("/var/b"), environment) == Path(expected)
    looked = candidates("gw1", Path("/var/b"), environment)
    assert looked[0] == Path(expected)
    assert {Path("/var/b/gw1.sock"), Path("/run/edge-agent/gw1.sock")} <= set(looked)
    assert len(looked) == len(set(looked))


async def test_nobody_there_and_not_for_us_are_told_apart(tmp_path, monkeypatch):
    """A missing socket is no agent; a forbidden one has a remedy."""
    with pytest.raises(NoAgentError, match="no agent listens on"):
        RemoteDesk(tmp_path / "gw1.sock").probe()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(EdgeAgentError, match="is not for this user: run the command with sudo") as told:
        RemoteDesk(tmp_path / "gw1.sock").probe()
    assert not isinstance(told.value, NoAgentError)


@pytest.mark.parametrize("turns", range(10))
async def test_whoever_is_accepted_while_the_socket_closes_is_hung_up(tmp_path, turns):
    """A caller who arrives in the very moment of the stop finds a closed connection, never one that nobody holds any more."""
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(5)
        async with serving(application(lambda: STATUS, None, verbs=False), path):
            caller.connect(str(path))
            for _ in range(turns):
                await asyncio.sleep(0)
        gc.collect()
        with contextlib.suppress(ConnectionResetError):  # it was not accepted at all
            assert caller.recv(1) == b""
