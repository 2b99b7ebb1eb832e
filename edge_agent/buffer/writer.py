"""One thread owns the one connection to the store: requests go in by a queue, answers come back to the loop in bunches.

The event loop never waits for the disk; a slow one makes commits larger, not polls later.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apsw
import msgspec
import structlog

from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, Damage, Lock
from edge_agent.buffer.numbering import Group
from edge_agent.buffer.outbox import Outbox
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.stream import Checkpoint, Custody, Entry

T = TypeVar("T")
_TURN = 1000
"""Requests taken before a commit gets its turn."""


class _Call(msgspec.Struct):
    """Something to ask the outbox, and who waits for it."""

    function: Callable[[Outbox, float], Any]
    future: asyncio.Future[Any]


Request = _Call | Group | None
"""None = close."""


class Writer:
    """The thread, and the way to it. ``usable`` is set once the store is open, ``arrived`` whenever there is something new to deliver."""

    def __init__(self, config: BufferConfig, clock: Callable[[], float], prefix: str, vfs: str | None, as_found: bool) -> None:
        """Remember what to open; ``start`` opens it."""
        self._config, self._clock, self._prefix, self._vfs, self._as_found = config, clock, prefix, vfs, as_found
        self._loop = asyncio.get_running_loop()
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="buffer-writer", daemon=True)
        self._opened: asyncio.Future[Outbox] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.arrived = asyncio.Event()
        self.usable = asyncio.Event()
        self._asked: set[asyncio.Future[Any]] = set()
        self._dead: str | None = None
        self.outbox: Outbox

    # -- the loop's side -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store. Raises ConfigError, StorageError."""
        self._thread.start()
        self.outbox = await self._opened

    async def stop(self) -> None:
        """Commit what waits and close the store; returns when the thread has ended."""
        if self._thread.ident is None:
            return
        self._requests.put(None)
        try:
            await asyncio.shield(self._closed)
        finally:
            self._thread.join()

    async def append(
        self, events: tuple[Entry, ...], checkpoints: tuple[Checkpoint, ...], declares: Damage | None = None
    ) -> Custody:
        """Have a group committed. Raises StorageError."""
        future: asyncio.Future[Custody] = self._future()
        self._send(Group(events, checkpoints, future, declares=declares))
        return await future

    async def ask(self, function: Callable[[Outbox, float], T]) -> T:
        """Return what ``function(outbox, now)`` returns in the thread. Raises StorageError."""
        future: asyncio.Future[T] = self._future()
        self._send(_Call(function, future))
        return await future

    def _future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    def _send(self, request: _Call | Group) -> None:
        if self._dead is not None:
            raise StorageError(self._dead)
        self._requests.put(request)

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
            self.arrived.set()

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
                self._on_loop(self.usable.set)
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
    except (apsw.Error, UnicodeDecodeError) as error:  # a text that rotted: no end of the thread either
        return StorageError(f"the buffer cannot be read: {type(error).__name__}: {error}")
    except OverflowError as error:  # SQLite has no such numbers: a wrong question is no end of the thread
        return StorageError(f"the buffer has no number that large: {error}")
