"""What agent and worker say to each other: msgpack in frames of a length and a body, over a socket pair that nobody else has.

::

    agent   Open --> Read --> Read ... --> Close        Write, PollAt, Ping at any time
    worker  Opened   Batches  Batches | Failed   Closed   Written        Pong, Counted

One Read is outstanding for each connection, and the next one accepts what the last one brought: what the agent does not ask for stays
in the driver's bounded queue, which declares what it cannot keep. So a full pipe loses nothing in silence.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.reading import Batch, Mark, Notice, Snapshot, Tag
from edge_agent.ports import DeviceWiring, Identity, PollCounts

_LENGTH: Final = 4
_MOST: Final = 1 << 30
_COLUMNS: Final = Batch.__struct_fields__

Stored = dict[str, tuple[Mark, ...]]
"""For each device, which marks of its readers are on disk."""


class Open(msgspec.Struct, tag=True):
    """Open connection ``number``. ``order`` is a pickled `Order`: configurations hold secrets and paths, and come from this very program."""

    number: int
    order: bytes


class Order(msgspec.Struct):
    """The devices of one connection, what is asked of them, and who the agent is."""

    configs: Sequence[Any]
    wiring: Mapping[str, DeviceWiring]
    identity: Identity


class Read(msgspec.Struct, tag=True):
    """Accept what was read before, and send what comes next."""

    number: int
    stored: Stored


class PollAt(msgspec.Struct, tag=True):
    """Poll at a plant time."""

    number: int
    time: int


class Write(msgspec.Struct, tag=True):
    """Acknowledge a handshake; the answer has the same ``request``."""

    number: int
    request: int
    device: str
    tag: str
    value: Any


class Close(msgspec.Struct, tag=True):
    """Close the connection, open or not."""

    number: int


class Ping(msgspec.Struct, tag=True):
    """Say that you live."""


class Opened(msgspec.Struct, tag=True):
    """The connection is open; ``counts`` are of the devices whose polls the driver counts."""

    number: int
    tags: dict[str, tuple[Tag, ...]]
    counts: dict[str, PollCounts]


class Crossing(msgspec.Struct, array_like=True):
    """A `Batch`, in the same order, whose values the decoder takes as they come: a union of text and bytes it does not know."""

    device: str
    received: int
    tags: list[int]
    values: list[Any]
    quality: list[int]
    source: list[int]
    server: list[int]
    details: dict[int, str]
    snapshots: tuple[Snapshot, ...]
    before: tuple[Notice, ...]
    after: tuple[Notice, ...]
    asked: int
    historical: bool
    mark: Mark | None


class Batches(msgspec.Struct, tag=True):
    """What was read."""

    number: int
    batches: list[Crossing]


class Counted(msgspec.Struct, tag=True):
    """The figures of polls as they are now: with each `Pong`, and at the end of a connection."""

    number: int
    counts: dict[str, PollCounts]


class Failed(msgspec.Struct, tag=True):
    """The connection could not be opened or is lost: the error with everything that it knows. ``config``: the wiring is wrong."""

    number: int
    text: str
    config: bool = False
    slow: bool = False
    fault: str = ""
    remedy: str = ""
    retry_after: float | None = None
    planned: bool = False


class Written(msgspec.Struct, tag=True):
    """The answer to a `Write`; ``refused``: it must not be written, ``lost``: the link is gone."""

    number: int
    request: int
    refused: str = ""
    lost: str = ""


class Closed(msgspec.Struct, tag=True):
    """The connection is closed, and forgotten."""

    number: int


class Pong(msgspec.Struct, tag=True):
    """The worker's loop turns."""


Command = Open | Read | PollAt | Write | Close | Ping
Report = Opened | Batches | Counted | Failed | Written | Closed | Pong

_encode = msgspec.msgpack.Encoder().encode
COMMANDS: Final = msgspec.msgpack.Decoder(Command)
REPORTS: Final = msgspec.msgpack.Decoder(Report)


def failure(number: int, error: DisconnectedError | ConfigError) -> Failed:
    """Return an error as it crosses."""
    if isinstance(error, ConfigError):
        return Failed(number, str(error), config=True)
    return Failed(
        number, str(error), slow=error.slow, fault=error.fault, remedy=error.remedy, retry_after=error.retry_after, planned=error.planned
    )  # fmt: skip


def error_of(failed: Failed) -> DisconnectedError | ConfigError:
    """Return the error that crossed."""
    if failed.config:
        return ConfigError(failed.text)
    error = DisconnectedError(failed.text)
    error.slow, error.fault, error.remedy = failed.slow, failed.fault, failed.remedy
    error.retry_after, error.planned = failed.retry_after, failed.planned
    return error


def order(configs: Sequence[Any], wiring: Mapping[str, DeviceWiring], identity: Identity) -> bytes:
    """Pack what a connection is opened with; what is stored comes with each `Read`."""
    plain = {
        name: DeviceWiring(one.triggers, one.acknowledge, one.marks, one.returns, _none_stored) for name, one in wiring.items()
    }
    return pickle.dumps(Order(configs, plain, identity))


def order_of(packed: bytes) -> Order:
    """Unpack an order; only ever of the parent's own making."""
    found: Order = pickle.loads(packed)  # noqa: S301 - from the process that started this one, over a pipe that only the two have
    return found


def _none_stored() -> tuple[Mark, ...]:
    return ()


def crossing(batches: Sequence[Batch]) -> list[Crossing]:
    """Return batches as they cross."""
    return [Crossing(*(getattr(batch, name) for name in _COLUMNS)) for batch in batches]


def arrived(batches: Sequence[Crossing]) -> list[Batch]:
    """Return the batches that crossed; arrays are tuples again."""
    for batch in batches:
        if list in set(map(type, batch.values)):
            batch.values = [_tupled(value) for value in batch.values]
    return [Batch(*(getattr(batch, name) for name in _COLUMNS)) for batch in batches]


def _tupled(value: Any) -> Any:
    return tuple(_tupled(one) for one in value) if isinstance(value, list) else value


class Pipe:
    """One end of the socket pair, as frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decoder: Any) -> None:
        self._reader, self._writer, self._decoder = reader, writer, decoder

    def send(self, message: Command | Report) -> None:
        """Queue a message; a pipe whose other end is gone swallows it: the reader finds out."""
        if self._writer.is_closing():
            return
        body = _encode(message)
        self._writer.write(len(body).to_bytes(_LENGTH, "little") + body)

    async def drain(self) -> None:
        """Return when the other end has room again. Raises OSError."""
        await self._writer.drain()

    async def receive(self) -> Any:
        """Return the next message. Raises EOFError when the other end is gone, or talks nonsense."""
        try:
            head = await self._reader.readexactly(_LENGTH)
            size = int.from_bytes(head, "little")
            if size > _MOST:
                raise EOFError(f"a frame of {size} bytes")
            return self._decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError) as error:
            raise EOFError(str(error)) from error

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


async def pipe(sock: socket.socket, decoder: Any) -> Pipe:
    """Return frames over a connected socket."""
    sock.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    return Pipe(reader, writer, decoder)
