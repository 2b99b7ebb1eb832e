"""``edge-agent adopt``: show what the broker keeps of the gateway that is gone, ask, and take it over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_agent import logs
from edge_agent.agent.adopt import Offer, adopt, broker_of, look, refusal
from edge_agent.agent.clock import plant_clock
from edge_agent.buffer.identity import DATABASE
from edge_agent.buffer.sqlite import open_buffer
from edge_agent.cli.reach import become_owner, running
from edge_agent.cli.words import lasted, plain, table
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import DisconnectedError, EdgeAgentError
from edge_agent.model.instant import parse
from edge_agent.ports import PlantClock


def run(directory: Path, *, yes: bool) -> None:
    """Adopt. Raises EdgeAgentError with the remedy when that is not possible, or nobody agreed."""
    config = load(directory)
    logs.configure("error")
    if running(config, None) is not None:
        raise EdgeAgentError(f"agent {config.agent.agent} runs on this machine; stop it first (systemctl stop edge-agent)")
    clock = plant_clock()
    asyncio.run(_check_empty(config))
    offer = asyncio.run(_offer(config, clock))
    if (reason := refusal(config.agent.agent, offer)) is not None:
        raise EdgeAgentError(reason)
    print("\n".join(lines(config, offer, clock.now())))
    _agree(yes=yes)
    epoch = asyncio.run(_adopt(config, clock, offer))
    print(f"adopted: epoch {epoch} follows {offer.units[0].epoch}. Start the agent: systemctl start edge-agent")


async def _offer(config: AgentConfig, clock: PlantClock) -> Offer:
    print("asking the broker; an old gateway that says online is watched for 16 s ...", file=sys.stderr)
    try:
        async with broker_of(config) as sink:
            return await look(config, clock, sink)
    except DisconnectedError as error:
        raise EdgeAgentError(f"the broker cannot be asked: {plain(str(error))}") from error


async def _check_empty(config: AgentConfig) -> None:
    """Refuse early, before the broker is asked, where an agent has run already."""
    if not (config.agent.buffer.path / DATABASE).is_file():
        return
    become_owner(config.agent.buffer.path)
    async with open_buffer(config.agent.buffer, as_found=True) as buffer:
        if any(last for _, last, _ in (await buffer.heads()).values()):
            raise EdgeAgentError(
                f"the store in {config.agent.buffer.path} holds events already. It can go on as it is: start the agent. To adopt all the same, "
                "move the folder away first (edge-agent buffer export takes along what was not delivered)"
            )


async def _adopt(config: AgentConfig, clock: PlantClock, offer: Offer) -> str:
    become_owner(config.agent.buffer.path)
    async with open_buffer(config.agent.buffer, prefix=config.agent.events.type_prefix) as buffer:
        await adopt(config, clock, buffer, offer)
        return buffer.epoch


def lines(config: AgentConfig, offer: Offer, now: int) -> Iterator[str]:
    """Yield what was found, for a person to agree to."""
    if offer.presence == "silent":
        yield "the old gateway's status says online, but nobody has said so again for 16 s: it is taken for gone"
    if offer.presence == "unknown":
        yield "the broker keeps no status of the old gateway, or this user may not read it: make sure that it does not run"
    rows = []
    for one in offer.units:
        totals = ", ".join(f"{name} {total}" for name, total in one.totals.items()) or "-"
        state, order = one.open.get("state") or {}, one.open.get("order")
        age = lasted((now - parse(one.time)) / 1e9)
        rows.append((one.stream, totals, str(state.get("name", "-")), str(order or "-"), age, str(one.published_seq)))
    yield from table(("stream", "totals", "state", "order", "age", "delivered up to"), [tuple(map(plain, row)) for row in rows])
    found = {one.stream for one in offer.units}
    for unit in config.units:
        if unit.unit not in found:
            yield f"{unit.unit}: no checkpoint to go on from; it begins anew"
    for name, rules in offer.dropped.items():
        yield f"{name}: {', '.join(rules)}: another meaning in this configuration; new baseline"
    yield "What the old gateway had not delivered is counted anew where counters tell; if its disk can be read, export its buffer as well."


def _agree(*, yes: bool) -> None:
    """Let a person agree. Raises EdgeAgentError."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise EdgeAgentError("nothing was changed: nobody can be asked here; run it again with --yes to agree")
    print("Take these streams over? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:  # at the end of input it is empty: a no
        raise EdgeAgentError("nothing was changed")
