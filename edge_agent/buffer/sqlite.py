"""The buffer on disk, for asyncio: one thread owns the one connection; requests go in by a queue, answers come back in bunches.

The event loop never waits for the disk; a slow one makes commits larger, not polls later.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import apsw
import msgspec
import structlog

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, Damage, Lock
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.visitors import Visitors
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.stream import Checkpoint, Custody, Entry, Kind, Record, RecordKey
from edge_agent.ports import BufferStats

T = TypeVar("T")
_TURN = 1000
"""Requests taken before a commit gets its turn."""


class _Call(msgspec.Struct):
    """Something to ask the outbox, and who waits for it."""

    function: Callable[[Outbox, float], Any]
    future: asyncio.Future[Any]


Request = _Call | Group | None
"""None = close."""


class SqliteBuffer(Visitors):
    """`ports.Buffer` over a SQLite store. Made by `open_buffer` only."""

    def __init__(self, config: BufferConfig, clock: Callable[[], float], prefix: str, vfs: str | None, as_found: bool) -> None:
        """Remember what to open; ``start`` opens it."""
        self._config, self._clock, self._prefix, self._vfs, self._as_found = config, clock, prefix, vfs, as_found
        self._loop = asyncio.get_running_loop()
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="buffer-writer", daemon=True)
        self._opened: asyncio.Future[Outbox] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._arrived = asyncio.Event()
        self._usable = asyncio.Event()
        self._asked: set[asyncio.Future[Any]] = set()
        self._dead: str | None = None
        self._output: str | None = None
        self._outbox: Outbox

    # -- the contract ----------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        """The ULID of the store; empty as long as the disk has not let it be opened."""
        return self._outbox.committer.epoch

    @property
    def readable(self) -> bool:
        """Whether the store has been opened: until then appends stay in memory, and there are no states to go on from."""
        return bool(self._outbox.committer.epoch)

    async def opened(self) -> None:
        """Return when the store has been opened."""
        await self._usable.wait()

    @property
    def previous_epoch(self) -> str | None:
        """The epoch before, where the store was re-created and still knew it."""
        return self._outbox.committer.previous_epoch

    @property
    def fresh(self) -> bool:
        """Whether this opening created the store."""
        return self._outbox.committer.fresh

    @property
    def damage(self) -> Damage | None:
        """What is known of a damaged store that was replaced at this opening or since: the matter of a `collection.gap{corruption}`."""
        return self._outbox.committer.damage

    async def append(self, events: Sequence[Entry], checkpoint: Checkpoint | None) -> Custody:
        """Commit events and rule state together; returns when they are safe. Raises StorageError when nothing was accepted.

        Cancelling the wait does not take the append back.
        """
        if not events and checkpoint is None:
            return Custody.DURABLE
        future: asyncio.Future[Custody] = self._future()
        self._send(Group(tuple(events), () if checkpoint is None else (checkpoint,), future))
        return await future

    async def states(self, owner: str) -> tuple[dict[str, bytes], int | None]:
        """Return the stored rule states of an owner and its last-seen time in UTC ns."""
        return await self._ask(lambda outbox, _: outbox.states(owner))

    async def peek(self, output: str, after: RecordKey | None, limit: int, kind: Kind) -> Sequence[Record]:
        """Return up to ``limit`` undelivered records of ``kind`` in the order they were appended."""
        self._check_output(output)
        return await self._ask(lambda outbox, _: outbox.peek(after, limit, kind))

    async def settle(self, output: str, delivered: Sequence[RecordKey], rejected: Sequence[tuple[RecordKey, str]]) -> None:
        """Mark records as delivered or set them aside. Returns before this is on the disk: a kill within a second repeats them."""
        self._check_output(output)
        gone, refused = tuple(delivered), tuple(rejected)
        await self._ask(lambda outbox, _: outbox.settle(gone, refused))

    async def resend(self, output: str, stream: str, epoch: str, first: int, last: int) -> int:
        """Mark delivered records as waiting again; returns how many were still there."""
        self._check_output(output)
        return await self._ask(lambda outbox, now: outbox.resend(stream, epoch, first, last, now))

    async def arrived(self) -> None:
        """Return when something was appended or marked for resend since the last call returned."""
        await self._arrived.wait()
        self._arrived.clear()

    async def heads(self) -> Mapping[str, tuple[int, int, int]]:
        """Return per stream (first seq still kept, last seq, last seq delivered without a hole)."""
        return await self._ask(lambda outbox, _: outbox.heads())

    async def stats(self) -> BufferStats:
        """Return figures for status and health."""
        return await self._ask(lambda outbox, _: outbox.stats())

    def _check_output(self, output: str) -> None:
        """One output has custody of the records; a second one would need a cursor of its own."""
        if self._output is None:
            self._output = output
        if output != self._output:
            raise ValueError(f"the records belong to output {self._output!r}; {output!r} cannot take them too")

    # -- the loop's side -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store. Raises ConfigError, StorageError."""
        self._thread.start()
        self._outbox = await self._opened

    async def stop(self) -> None:
        """Commit what waits and close the store; returns when the thread has ended."""
        if self._thread.ident is None:
            return
        self._requests.put(None)
        try:
            await asyncio.shield(self._closed)
        finally:
            self._thread.join()

    def _future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    def _send(self, request: _Call | Group) -> None:
        if self._dead is not None:
            raise StorageError(self._dead)
        self._requests.put(request)

    async def _ask(self, function: Callable[[Outbox, float], T]) -> T:
        future: asyncio.Future[T] = self._future()
        self._send(_Call(function, future))
        return await future

    def _resolve(self, answers: Sequence[tuple[Any, object]], news: bool) -> None:
        """Runs on the loop."""
        for future, answer in answers:
            if future is None or future.done():  # nobody waits any more
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if news:
            self._arrived.set()

    # -- the thread's side -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Own the lock, the outbox and its connection from the first to the last moment."""
        try:
            with contextlib.ExitStack() as stack:
                if self._as_found and not (self._config.path / DATABASE).is_file():
                    raise StorageError(f"there is no store in {self._config.path}")  # noqa: TRY301 - told like every other refusal
                lock = Lock(self._config.path, visitor=self._as_found)
                stack.callback(lock.release)
                outbox = Outbox(
                    self._config, self._clock(), prefix=self._prefix, vfs=self._vfs, as_found=self._as_found, enter=lock.hold
                )
                self._post([(self._opened, outbox)])
                self._serve(outbox)
        except EdgeAgentError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a bug: everybody who waits is told, and everybody who asks later
            structlog.get_logger().critical("buffer.writer_failed", exc_info=True)
            self._end(StorageError(f"the buffer's writer failed: {type(error).__name__}: {error}"))
        else:
            self._end(StorageError("the buffer is closed"))

    def _serve(self, outbox: Outbox) -> None:
        open_, told = True, False
        while open_:
            if outbox.committer.readable and not told:
                told = True
                self._on_loop(self._usable.set)
            open_ = self._take(outbox)
            if open_:
                outbox.work(self._clock())
            else:
                outbox.close(self._clock())
            answers, outbox.answers = outbox.answers, []
            news, outbox.committer.news = outbox.committer.news, False
            if answers or news:
                self._post(answers, news=news)

    def _take(self, outbox: Outbox) -> bool:
        """Take the requests that wait, and answer questions at once; return False when it is time to close."""
        answers: list[tuple[Any, object]] = []
        try:
            for turn in range(_TURN):
                request = self._requests.get_nowait() if turn else self._requests.get(timeout=outbox.due(self._clock()))
                if request is None:
                    return False
                if isinstance(request, Group):
                    outbox.add(request)
                else:
                    answers.append((request.future, _answer(request, outbox, self._clock())))
        except queue.Empty:
            pass
        finally:
            if answers:
                self._post(answers)
        return True

    def _post(self, answers: Sequence[tuple[Any, object]], *, news: bool = False) -> None:
        self._on_loop(self._resolve, answers, news)

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(function, *arguments)

    def _end(self, error: EdgeAgentError) -> None:
        """Refuse everything from now on, and everybody who still waits."""
        self._dead = str(error)
        self._on_loop(self._refuse, error)

    def _refuse(self, error: EdgeAgentError) -> None:
        """Runs on the loop."""
        self._resolve([(self._opened, error), *((future, StorageError(str(error))) for future in tuple(self._asked))], news=False)
        self._closed.set_result(None)


def _answer(call: _Call, outbox: Outbox, now: float) -> object:
    """Return the answer or the error, for the one who asked."""
    try:
        return call.function(outbox, now)
    except StorageError as error:
        return error
    except apsw.Error as error:
        return StorageError(f"the buffer cannot be read: {type(error).__name__}: {error}")


@asynccontextmanager
async def open_buffer(
    config: BufferConfig,
    *,
    machine_clock: Callable[[], float] = time.monotonic,
    prefix: str = "edgeagent",
    vfs: str | None = None,
    as_found: bool = False,
) -> AsyncIterator[SqliteBuffer]:
    """Open the store in ``config.path`` and keep it for one agent; leaving commits what waits.

    ``machine_clock`` gives seconds; ``prefix`` is the type prefix of the loss records that the buffer makes; ``vfs`` names an apsw VFS for
    fault injection. ``as_found`` is for people without an agent: a store that is missing or damaged is refused with StorageError, and not
    replaced. Raises ConfigError when another agent has the directory or a newer program wrote it. A disk that does not let the store be
    opened is no error: appends are VOLATILE and the health is bad until it does (``as_found``: StorageError).
    """
    buffer = SqliteBuffer(config, machine_clock, prefix, vfs, as_found)
    try:
        await buffer.start()
        yield buffer
    finally:
        await buffer.stop()
