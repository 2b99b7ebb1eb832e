"""What is known of a damaged store stands in the new one until an agent has declared it: a kill in between takes no loss out of the world.

It is written by the transaction that fills the new store, and deleted by the one that commits the declaration.
"""

from __future__ import annotations

import msgspec
import structlog

from edge_agent.buffer.identity import Damage
from edge_agent.buffer.streams import Streams
from edge_agent.model.outside import from_json

DAMAGE = "damage"
"""The name of the fact."""
_WORDS, _RANGES, _STATES, _BEFORE = 2_000, 1_000, 1 << 20, 8
"""What it may hold at most: characters of the error, ranges, bytes of rule states, stores that were damaged one after the other."""


def note(store: Streams, damage: Damage) -> None:
    """Note what a receiver has to be told; inside a transaction. Where the states are too many, no stream goes on from a checkpoint."""
    size = sum(len(value) for states in damage.states for value in states.states.values())
    fact = msgspec.structs.replace(
        damage,
        set_aside=_text(damage.set_aside),
        error=_text(damage.error)[:_WORDS],
        lost=None if damage.lost is None else damage.lost[:_RANGES],
        states=damage.states if size <= _STATES else (),
        settled=damage.settled or size > _STATES,
        earlier=False,
    )
    store.put_summed(DAMAGE, msgspec.json.encode(fact).decode())


def noted(store: Streams) -> Damage | None:
    """Return what is not declared yet, None where there is nothing. A note that rotted is damage of which nothing is known. Raises apsw.Error."""
    if not store.has(DAMAGE):
        return None
    try:
        return msgspec.structs.replace(from_json((store.summed(DAMAGE) or "").encode(), Damage), earlier=True)
    except ValueError:  # told to the log, and to receivers as what it is
        structlog.get_logger().error("buffer.fact_damaged", fact=DAMAGE)
        error = "what was noted of a store that was damaged before cannot be read any more"
        return Damage("", store.words("previous_epoch"), error, cut=True, settled=True, earlier=True)


def declared(store: Streams, damage: Damage) -> None:
    """Take the note of ``damage`` away, inside the transaction that commits its declaration; that of another damage stays."""
    found = noted(store)
    if found is not None and (found.set_aside, found.epoch) == (_text(damage.set_aside), damage.epoch):
        store.forget_fact(DAMAGE)


def settle(store: Streams) -> None:
    """Note that a new epoch has begun since, inside its transaction: the damage is still to be told, but nothing goes on from before it again."""
    if (found := noted(store)) is not None:
        note(store, msgspec.structs.replace(found, states=(), settled=True))


def with_earlier(damage: Damage, earlier: Damage | None) -> Damage:
    """Return ``damage`` of a store in which that of another one, ``earlier``, was not declared yet."""
    if earlier is None:
        return damage
    chain = (*earlier.before, msgspec.structs.replace(earlier, states=(), lost=None, before=()))
    if len(chain) > _BEFORE:  # the oldest one that stays speaks for those that do not
        chain = (msgspec.structs.replace(chain[-_BEFORE], cut=True), *chain[1 - _BEFORE :])
    return msgspec.structs.replace(damage, before=chain)


def _text(text: str) -> str:
    """Return a text that can be written: a path may hold bytes that are no text."""
    return text.encode(errors="backslashreplace").decode()
