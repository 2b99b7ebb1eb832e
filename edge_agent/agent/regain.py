"""From where streams go on when their store is gone, or the end of its log: from what was left of it, or the retained checkpoints. Pure.

What was left of a cut log is an older copy: its states go with the numbers that were saved. A checkpoint knows of states all of whose events were
delivered. Of the two the one that follows the higher numbers is taken; what was given behind it is declared by a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edge_agent.agent import origin
from edge_agent.agent.origin import Seen
from edge_agent.buffer.identity import Damage
from edge_agent.model.instant import parse
from edge_agent.model.stream import Checkpoint


class Regained(msgspec.Struct, frozen=True):
    """Where the streams stand: the states to go on from, since when (UTC ns, None: unknown) anything may be missing, by stream.

    ``based`` are the owners of states that come from a checkpoint.
    """

    states: tuple[Checkpoint, ...]
    since: dict[str, int | None]
    based: frozenset[str]


def witnesses(damage: Damage | None, seen: Sequence[Seen]) -> list[Seen]:
    """Return the checkpoints of the store that ``damage`` took; none where all that counts was saved from it, or the streams have gone on since."""
    if damage is None or damage.settled or not damage.unknown:
        return []
    last = origin.newest(seen)
    epoch = damage.epoch or (last.epoch if last is not None else None)
    return [one for one in seen if one.epoch == epoch]


def regain(
    streams: Iterable[str], seen: Iterable[Seen], bases: Iterable[Checkpoint], left: Iterable[Checkpoint], heads: Mapping[str, int]
) -> Regained:
    """Choose for each of ``streams``: ``bases`` are the states in the checkpoints ``seen``, ``left`` those in what was left of the store, ``heads`` its last numbers."""
    by_stream = {one.stream: one for one in seen}
    based = {base.owner: base for base in bases}
    states = {states.owner: states for states in left}
    since: dict[str, int | None] = {}
    taken: set[str] = set()
    for stream in streams:
        one, base, own, head = by_stream.get(stream), based.get(stream), states.get(stream), heads.get(stream, 0)
        if base is not None and (own is None or _follows(one, base, own, head)):
            states[stream] = base
            taken.add(stream)
            own = None
        since[stream] = own.last_seen if own is not None else _missing_since(one, head)
    return Regained(tuple(states.values()), since, frozenset(taken))


def _follows(one: Seen | None, base: Checkpoint, own: Checkpoint, head: int) -> bool:
    """Say whether ``base`` is the younger state: by numbers, and by time only between states that follow the same one."""
    seq = 0 if one is None or one.resume is None else one.resume.seq
    return (seq, base.last_seen) > (head, own.last_seen)


def _missing_since(one: Seen | None, head: int) -> int | None:
    """Return the time from which on records are lost: that of the checkpoint, unless some waited at that time."""
    if one is None:
        return None
    if max(one.published_seq, head) >= one.last_seq:
        return parse(one.time)
    return parse(one.resume.time) if one.resume is not None else None
