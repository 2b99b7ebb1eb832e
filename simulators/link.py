"""A proxied TCP link: whole or cut, with two lanes that may each be bad, and peers that may die without a word."""

from __future__ import annotations

import asyncio
import contextlib

from simulators.lane import CutError, Lane
from simulators.listening import stop_listening

LANES = frozenset({"up", "down", "both"})
_CHUNK = 65_536
_PROBE_AGAIN = 0.01


class Pair:
    """One proxied connection: the near side dialled the proxy, the far side is the target."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        self.reader, self.writer, self.far_reader, self.far_writer = reader, writer, far_reader, far_writer
        self.dead = asyncio.Event()

    def reset(self) -> None:
        """Reset both sides."""
        self.writer.transport.abort()
        self.far_writer.transport.abort()


class Link:
    """The proxied link. ``up`` carries what the near side sends, ``down`` the answers."""

    def __init__(self, host: str, port: int, target: tuple[str, int], how: str = "close", seed: int = 1) -> None:
        self._host = host
        self.port = port
        self._target = target
        self._how = how
        self.up, self.down = Lane(seed=seed), Lane(seed=seed + 1)
        self._closing = False
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pairs: set[Pair] = set()
        self._handlers: set[asyncio.Event] = set()
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_cut(self) -> bool:
        """Say whether nothing passes."""
        return not self._whole.is_set()

    async def listen(self) -> None:
        """Accept connections; ``port`` becomes the real one."""
        async with self._opening:  # the end of a cut and a target that returns may meet here
            if self._server is None:
                self._server = await asyncio.start_server(self._accept, self._host, self.port)
                self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Let nothing pass from now on."""
        self._whole.clear()
        if self._how == "close":
            await self._stop_listening()
            self.reset()

    async def mend(self) -> None:
        """Let everything pass again."""
        self._whole.set()
        await self.listen()

    def lanes(self, which: str) -> list[Lane]:
        """Return the lanes called ``up``, ``down`` or ``both``; raises ValueError."""
        if which not in LANES:
            raise ValueError(f"no lane {which!r}; there are up, down and both")
        return [lane for name, lane in (("up", self.up), ("down", self.down)) if which in {name, "both"}]

    def half_open(self) -> None:
        """Let the far side of every open connection die without a word: the near side is kept, and never answered again."""
        for pair in self._pairs:
            pair.dead.set()

    def reset(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """End the proxy and all its connections."""
        self._closing = True
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await self._stop_listening()
        self._whole.set()
        self.reset()
        await asyncio.gather(*(ended.wait() for ended in self._handlers))

    async def _stop_listening(self) -> None:
        async with self._opening:
            if self._server is not None:
                await stop_listening(self._server)
                self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        self._handlers.add(ended)
        self._writers.add(writer)
        try:
            await self._whole.wait()
            if not self._closing:
                await self._join(reader, writer)
        except OSError:
            self._suspect_target()  # the near side learns it by its connection's end
        finally:
            self._writers.discard(writer)
            writer.close()
            self._handlers.discard(ended)
            ended.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        pair = Pair(reader, writer, far_reader, far_writer)
        self._writers.add(far_writer)
        self._pairs.add(pair)
        try:
            await self._both_ways(pair)
        finally:
            if far_reader.at_eof() and not pair.dead.is_set():
                self._suspect_target()
            self._pairs.discard(pair)
            self._writers.discard(far_writer)
            far_writer.close()
        if pair.dead.is_set():
            far_writer.transport.abort()
            await _swallow(reader)

    async def _both_ways(self, pair: Pair) -> None:
        pumps = {
            asyncio.create_task(self.up.pump(pair.reader, pair.far_writer, self._whole)),
            asyncio.create_task(self.down.pump(pair.far_reader, pair.writer, self._whole)),
        }
        dying = asyncio.create_task(pair.dead.wait())
        try:
            done, _ = await asyncio.wait({*pumps, dying}, return_when=asyncio.FIRST_COMPLETED)
            if any(isinstance(task.exception(), CutError) for task in done & pumps):
                pair.reset()
        finally:
            for task in (*pumps, dying):
                task.cancel()
            await asyncio.gather(*pumps, dying, return_exceptions=True)

    def _suspect_target(self) -> None:
        if self._probe is None and not self._closing:
            self._probe = asyncio.create_task(self._refuse_while_target_does())

    async def _refuse_while_target_does(self) -> None:
        """Listen only while the target listens: behind a real link, too, nobody accepts for a device without power."""
        while not await self._target_accepts():
            await self._stop_listening()
            await asyncio.sleep(_PROBE_AGAIN)
        self._probe = None
        if not (self.is_cut and self._how == "close"):
            await self.listen()

    async def _target_accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(*self._target)
        except OSError:
            return False
        writer.close()
        return True


async def _swallow(reader: asyncio.StreamReader) -> None:
    """Take what comes and say nothing, as a host does that has lost its power behind a router that has not."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(_CHUNK):
            pass
