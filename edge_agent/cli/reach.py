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
from edge_agent.agent.envelope import Envelope, configured, stored
from edge_agent.buffer.config import BufferConfig
from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.cli.options import DEFAULT_CONFIG
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError, TakenError
from edge_agent.status.client import NoAgentError, RemoteDesk
from edge_agent.status.place import candidates
from edge_agent.status.report import Desk

T = TypeVar("T")

_AS_IT_IS = {"max_bytes": 1 << 50, "min_free": 0, "resend_window": 1 << 62}
"""A store without its configuration keeps whatever it has."""


@dataclass(frozen=True)
class Reached:
    """Who answers: ``own`` is the desk when the command has opened the store itself."""

    desk: Desk
    own: BufferDesk | None = None


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
async def reach(directory: Path | None, store: Path | None) -> AsyncIterator[Reached]:
    """Find who answers. Raises ConfigError, and EdgeAgentError with a remedy when nobody does."""
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
    become_owner(path)
    async with AsyncExitStack() as stack:
        desk = await _opened(stack, path, config, own_config=store is None)
        yield Reached(desk, desk)


async def _opened(stack: AsyncExitStack, path: Path, config: AgentConfig | None, *, own_config: bool) -> BufferDesk:
    if config is not None and own_config:
        settings, prefix = config.agent.buffer, config.agent.events.type_prefix
    else:
        settings, prefix = BufferConfig(path=path).model_copy(update=_AS_IT_IS), "edgeagent"
    try:
        buffer = await stack.enter_async_context(open_buffer(settings, prefix=prefix, as_found=True))
    except TakenError as error:
        raise EdgeAgentError(f"{error} (it does not answer on its local socket; its log says why)") from error
    known = [envelope for envelope in (await stored(buffer), None if config is None else configured(config)) if envelope]
    envelope = Envelope(known[0].settings, {**known[-1].streams, **known[0].streams}) if known else None
    return BufferDesk(buffer, OUTPUT, path, envelope)


def become_owner(path: Path) -> None:
    """As root, go on as the user whom the store belongs to: a file made by root would lock the service out of its own store."""
    owner = next(place for place in (path / DATABASE, path, *path.absolute().parents) if place.exists()).stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def ask(directory: Path | None, store: Path | None, question: Callable[[Reached], Coroutine[None, None, T]]) -> T:
    """Find who answers, ask, and return the answer. Raises EdgeAgentError."""
    import asyncio

    logs.configure("error")

    async def main() -> T:
        async with reach(directory, store) as reached:
            return await question(reached)

    try:
        return asyncio.run(main())
    except OSError as error:
        raise EdgeAgentError(f"{error.filename or 'the system'}: {error.strerror or error}") from error
