"""Finds whoever can answer about a buffer: the running agent on its socket, else the store itself, opened by the command."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_agent import logs
from edge_agent.agent.build import OUTPUT
from edge_agent.agent.desk import BufferDesk
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE, Damage
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.cli.options import DEFAULT_CONFIG
from edge_agent.cli.rescue import AS_IT_IS, copy_of, envelope_of, read_through
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError, StorageError, TakenError
from edge_agent.status.client import NoAgentError, RemoteDesk
from edge_agent.status.place import candidates
from edge_agent.status.report import Desk, Wanted

T = TypeVar("T")


@dataclass(frozen=True)
class Reached:
    """Who answers: ``own`` is the desk when the command has opened the store itself; ``damage`` is what it found, and could be read around."""

    desk: Desk
    own: BufferDesk | None = None
    damage: Damage | None = None


def sockets(config: AgentConfig | None, store: Path | None) -> list[Path]:
    """Return where an agent of this configuration or this store may listen."""
    if store is not None:
        return sorted(store.glob("*.sock"))
    return candidates(config.agent.agent, config.agent.buffer.path) if config is not None else []


def running(config: AgentConfig | None, store: Path | None) -> RemoteDesk | None:
    """Return the desk of the running agent, None when there is none. Raises EdgeAgentError when it may not be asked."""
    for place in sockets(config, store):
        desk = RemoteDesk(place)
        try:
            desk.probe()
        except NoAgentError:
            continue
        return desk
    return None


@asynccontextmanager
async def reach(
    directory: Path | None, store: Path | None, wanted: Wanted | None = None, *, change: bool = False
) -> AsyncIterator[Reached]:
    """Find who answers. Raises ConfigError, and EdgeAgentError with a remedy when nobody does.

    A store that is named itself is read on a copy, unless it is to ``change``. ``wanted`` is read of a damaged one too, as far as that can be.
    """
    config = None if store is not None and directory is None else load(directory or DEFAULT_CONFIG)
    if (remote := running(config, store)) is not None:
        yield Reached(remote)
        return
    path = store if store is not None or config is None else config.agent.buffer.path
    assert path is not None  # noqa: S101 - one of the two is there
    if not (path / DATABASE).is_file():
        raise EdgeAgentError(
            f"no agent answers, and there is no store in {path.absolute()}; name the folder that holds {DATABASE} with --store "
            "(under systemd: --store /var/lib/edge-agent/buffer)"
        )
    if store is not None and not change:
        async with copy_of(path, config, wanted) as (desk, damage):
            yield Reached(desk, desk, damage)
        return
    become_owner(path)
    async with AsyncExitStack() as stack:
        damage = None
        try:
            desk = await _opened(stack, path, config, own_config=store is None)
            if wanted is not None:
                await read_through(desk, wanted)
        except StorageError:
            if wanted is None:
                raise
            await stack.aclose()
            desk, damage = await stack.enter_async_context(copy_of(path, config, wanted))
        yield Reached(desk, desk, damage)


async def _opened(stack: AsyncExitStack, path: Path, config: AgentConfig | None, *, own_config: bool) -> BufferDesk:
    if config is not None and own_config:
        settings, prefix = config.agent.buffer, config.agent.events.type_prefix
    else:
        settings, prefix = BufferConfig(path=path).model_copy(update=AS_IT_IS), "edgeagent"
    if not os.access(path, os.W_OK, effective_ids=True):
        raise StorageError(
            f"{path} is read-only, or this user may not write there, which this takes; run it as the user whom the store belongs to, "
            "or on a copy of the folder (`edge-agent buffer export --store` only reads)"
        )
    try:
        buffer = await stack.enter_async_context(open_buffer(settings, prefix=prefix, as_found=True))
    except TakenError as error:
        raise EdgeAgentError(f"{error} (it does not answer on its local socket; its log says why)") from error
    return BufferDesk(buffer, OUTPUT, path, await envelope_of(buffer, config))


def become_owner(path: Path) -> None:
    """As root, go on as the user whom the store belongs to: a file made by root would lock the service out of its own store."""
    owner = next(place for place in (path / DATABASE, path, *path.absolute().parents) if place.exists()).stat()
    if hasattr(os, "geteuid") and os.geteuid() == 0 and owner.st_uid != 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def ask(
    directory: Path | None,
    store: Path | None,
    question: Callable[[Reached], Coroutine[None, None, T]],
    wanted: Wanted | None = None,
    *,
    change: bool = False,
) -> T:
    """Find who answers (see `reach`), ask, and return the answer. Raises EdgeAgentError."""
    import asyncio

    logs.configure("error")

    async def main() -> T:
        async with reach(directory, store, wanted, change=change) as reached:
            return await question(reached)

    try:
        return asyncio.run(main())
    except PermissionError as error:
        raise EdgeAgentError(
            f"{error.filename or 'the system'}: {error.strerror or error}; run it as the user whom the store belongs to, or with sudo"
        ) from error
    except OSError as error:
        raise EdgeAgentError(f"{error.filename or 'the system'}: {error.strerror or error}") from error
