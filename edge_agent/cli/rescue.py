"""Reads a store without touching it, and what can be read of a damaged one: both on a copy, which an agent's own salvage may then put in order."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from edge_agent import logs
from edge_agent.agent.build import OUTPUT
from edge_agent.agent.desk import BufferDesk
from edge_agent.agent.envelope import Envelope, configured, stored
from edge_agent.agent.handover import declare_unknown
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.copied import copied, log_in_doubt
from edge_agent.buffer.identity import DATABASE, Damage
from edge_agent.buffer.sqlite import SqliteBuffer, open_buffer
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.status.report import Wanted

AS_IT_IS = {"max_bytes": 1 << 50, "min_free": 0, "resend_window": 1 << 62}
"""A store without its configuration keeps whatever it has."""
_PREFIX = "edgeagent"


async def envelope_of(buffer: SqliteBuffer, config: AgentConfig | None) -> Envelope | None:
    """Return how the streams of a store are published: by what it says itself, and where it does not by a configuration."""
    known = [envelope for envelope in (await stored(buffer), None if config is None else configured(config)) if envelope]
    return Envelope(known[0].settings, {**known[-1].streams, **known[0].streams}) if known else None


@asynccontextmanager
async def copy_of(path: Path, config: AgentConfig | None, wanted: Wanted | None) -> AsyncIterator[tuple[BufferDesk, Damage | None]]:
    """Open a copy of the store in ``path``; with ``wanted`` also a damaged one, from which everything undelivered was saved.

    The loss records in it are those that an agent would make. Raises EdgeAgentError.
    """
    logs.configure("critical")  # what the store says of itself names the copy; the user is told in words
    prefix = config.agent.events.type_prefix if config is not None else _PREFIX
    told = False
    while True:
        async with contextlib.AsyncExitStack() as stack:
            folder = stack.enter_context(copied(path))
            doubt = log_in_doubt(folder)
            if doubt is not None and not told:
                print(f"caution: {path}: {doubt}", file=sys.stderr)
                told = True
            with _named(folder, path):
                settings = BufferConfig(path=folder).model_copy(update=AS_IT_IS)
                if not (path / DATABASE).stat().st_size:
                    raise EdgeAgentError(f"{path / DATABASE} is empty: there is no store in {path}")
                buffer = await stack.enter_async_context(open_buffer(settings, prefix=prefix, as_found=wanted is None))
                if not buffer.readable:
                    raise EdgeAgentError(f"cannot open a copy of the store in {path}: {(await buffer.stats()).detail}")
                envelope = await _envelope(buffer, config, salvage=wanted is not None)
                if envelope is not None and envelope.settings.prefix != prefix:  # loss records have the types of their gateway
                    prefix = envelope.settings.prefix
                    continue
                if wanted is not None:
                    await _put_in_order(buffer, path, envelope, wanted)
            yield BufferDesk(buffer, OUTPUT, path, envelope), _found(buffer)
            return


async def _envelope(buffer: SqliteBuffer, config: AgentConfig | None, *, salvage: bool) -> Envelope | None:
    try:
        return await envelope_of(buffer, config)
    except StorageError as error:
        if not salvage or _found(buffer) is not None:
            raise
        await _distrust(buffer, error)
        return await envelope_of(buffer, config)


async def _distrust(buffer: SqliteBuffer, error: StorageError) -> None:
    await buffer.distrust(str(error))
    if _found(buffer) is None:
        raise error


def _found(buffer: SqliteBuffer) -> Damage | None:
    """Return what is wrong with this store, not with one before it."""
    return None if buffer.damage is None or buffer.damage.earlier else buffer.damage


async def read_through(desk: BufferDesk, wanted: Wanted) -> None:
    """Read once what will be given away, so that damage is found before the first of it is. Raises StorageError."""
    for each in {Wanted(), wanted}:
        async for _ in desk.records(each):
            pass


async def _put_in_order(buffer: SqliteBuffer, path: Path, envelope: Envelope | None, wanted: Wanted) -> None:
    """Have a copy that turns out to be damaged salvaged before anything of it is given away."""
    if _found(buffer) is None:
        try:
            await read_through(BufferDesk(buffer, OUTPUT, path, envelope), wanted)
        except StorageError as error:
            await _distrust(buffer, error)
    if (damage := buffer.damage) is None:
        return
    if damage.saved is None and not damage.earlier:
        raise EdgeAgentError(
            f"nothing can be read of the store in {path} ({damage.error}): not even its list of streams, or it is no store; "
            "the files were left as they are"
        )
    if any(each.unknown for each in (damage, *damage.before)) and envelope is not None:
        await declare_unknown(buffer, envelope)


@contextlib.contextmanager
def _named(folder: Path, path: Path) -> Iterator[None]:
    """Have errors name the store that the user knows instead of its copy."""
    try:
        yield
    except EdgeAgentError as error:
        text = str(error).replace(str(folder), str(path)).replace("choose another buffer.path", "name another folder with --store")
        raise type(error)(text) from error
