"""A blank gateway takes over the streams of one that is gone: from the checkpoints that the broker keeps, into a store that holds nothing yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal

import msgspec

from edge_agent.agent import origin
from edge_agent.agent.build import build
from edge_agent.agent.envelope import checkpointed, configured, keep, topics_of
from edge_agent.agent.origin import Seen
from edge_agent.agent.succeed import gaps, read_all, states_of
from edge_agent.buffer.lineage import Succession
from edge_agent.buffer.memory import MemoryBuffer
from edge_agent.buffer.sqlite import SqliteBuffer
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.outside import from_json
from edge_agent.ports import Document, PlantClock, Sink
from edge_agent.publish import mqtt

_NOTICED = 16.0
"""Machine seconds after which a gateway that says ``online`` and does not say it again is gone: it says so every 10 s."""

_LOOK = 1.0

Presence = Literal["offline", "online", "silent", "unknown"]
"""What the agent's retained status says: ``silent`` = it says online, and nobody says it again; ``unknown`` = there is none."""


class Offer(msgspec.Struct, frozen=True):
    """What the broker keeps of an agent: the checkpoints that were found, whether the agent is there, and what cannot be taken over, by unit."""

    seen: tuple[Seen, ...]
    presence: Presence
    dropped: Mapping[str, tuple[str, ...]]

    @property
    def units(self) -> tuple[Seen, ...]:
        """The checkpoints from which a unit can go on."""
        return tuple(one for one in self.seen if one.resume is not None)


class _Status(msgspec.Struct):
    status: str
    time: str | None = None
    session: str | None = None


def broker_of(config: AgentConfig, what: str = "adopt") -> AbstractAsyncContextManager[Sink]:
    """Open a connection beside the agent's, named for ``what`` it does: it says nothing, and does not take a running agent's place."""
    topics = topics_of(config)
    own = config.agent.mqtt.model_copy(update={"commands": (), "client_id": f"{config.agent.agent}-{what}"})
    will = Document(f"{topics.base}/{what}", b'{"status":"ended"}', retain=False)
    return mqtt.connect(own, topics=topics, streams={}, will=will)


async def look(config: AgentConfig, clock: PlantClock, sink: Sink) -> Offer:
    """Read what the broker keeps; takes up to `_NOTICED` seconds where the status says online. Raises DisconnectedError."""
    topics, order = topics_of(config), checkpointed(config)
    wanted = {topics.checkpoint(name): name for name in order}
    seen = tuple(read_all(await sink.retained(tuple(wanted)), wanted))
    seen = tuple(sorted(seen, key=lambda one: order.index(one.stream)))
    return Offer(seen, await _presence(sink, topics.status), _dropped(config, clock, seen))


async def _presence(sink: Sink, topic: str) -> Presence:
    clock = asyncio.get_running_loop().time
    end = clock() + _NOTICED
    first = status = await _status(sink, topic)
    while status is not None and status.status == "online":
        if status != first:
            return "online"
        if clock() >= end:
            return "silent"
        await asyncio.sleep(_LOOK)
        status = await _status(sink, topic)
    return "unknown" if status is None else "offline"


async def _status(sink: Sink, topic: str) -> _Status | None:
    payload = (await sink.retained((topic,))).get(topic)
    try:
        return None if payload is None else from_json(payload, _Status)
    except ValueError:  # not the status of an agent: as good as none
        return None


def _dropped(config: AgentConfig, clock: PlantClock, seen: Sequence[Seen]) -> dict[str, tuple[str, ...]]:
    """Return the rules that cannot go on from what is offered, for the configuration gives them another meaning."""
    units = {unit.name: unit for unit in build(config, MemoryBuffer(), clock).units}
    found = {states.owner: units[states.owner].refused(states.states) for states in states_of(seen) if states.owner in units}
    return {name: rules for name, rules in found.items() if rules}


def refusal(agent: str, offer: Offer) -> str | None:
    """Return why nothing can be adopted, with the remedy; None when it can."""
    if offer.presence == "online":
        return (
            f"agent {agent} is online: another gateway publishes under this name. Stop it first (systemctl stop edge-agent there), "
            "or give this gateway a name of its own (agent: in agent.yaml)"
        )
    if not offer.units:
        found = ", ".join(one.stream for one in offer.seen)
        what = f"the checkpoints of {found} carry no states" if found else f"the broker keeps no checkpoint of agent {agent}"
        return (
            f"{what}, so there is nothing to go on from. Compare agent, site and mqtt.root with the old gateway's configuration, and check that "
            "this user may read its checkpoint topics; to begin anew, just start the agent: every counter takes a new baseline"
        )
    return None


async def adopt(config: AgentConfig, clock: PlantClock, buffer: SqliteBuffer, offer: Offer) -> None:
    """Let the empty store of ``buffer`` go on from ``offer``: a new epoch with the states and the gaps. Raises EdgeAgentError."""
    if any(last for _, last, _ in (await buffer.heads()).values()):
        raise EdgeAgentError(
            f"the store in {config.agent.buffer.path} holds events already; an agent has run with it. It can go on as it is: start the agent. "
            "To adopt all the same, move the folder away first (edge-agent buffer export takes what was not delivered along)"
        )
    now, settings = clock.now(), config.agent
    last = origin.newest(offer.units)
    assert last is not None  # noqa: S101 - `refusal` was asked
    events = gaps(
        "adopted",
        checkpointed(config),
        offer.seen,
        None,
        now,
        epoch=last.epoch,
        prefix=settings.events.type_prefix,
        cfg=config.fingerprint,
    )
    known = origin.foreign(await buffer.lineage(), offer.seen)
    await buffer.succeed(Succession(last.epoch, events, states_of(offer.units), None, known))
    await keep(buffer, configured(config), now)
