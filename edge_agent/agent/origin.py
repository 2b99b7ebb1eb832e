"""Whether this store is the one that the broker knows, decided from the agent's own retained checkpoints (pure).

A store that was restored from a copy, or cloned, would give numbers a second time. It is recognised by the runs that its checkpoints name
(`buffer.lineage`), and by numbers that it does not know of. It then begins a new epoch: `follow` says how.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from edge_agent.buffer.lineage import Lineage, Run
from edge_agent.model.instant import parse
from edge_agent.model.outside import from_json

LARGEST = 131_072
"""Characters of packed states that a checkpoint may carry; a unit with more cannot be adopted."""

_STATES = 4 << 20
"""Bytes of states that are unpacked at most: what stands at a broker is not believed blindly."""

Cause = Literal["", "behind", "forked", "superseded"]
"""Why a store must not go on: nothing; the checkpoint knows higher numbers, runs, or a newer epoch that this store never saw."""


class Resume(msgspec.Struct, frozen=True):
    """The rule states of a unit at plant ``time`` (RFC 3339), none of whose events have a number above ``seq``: a base for another gateway."""

    seq: int
    time: str
    states: str

    def unpack(self) -> dict[str, bytes]:
        """Return the states by rule. Raises ValueError."""
        try:
            packed = base64.b64decode(self.states, validate=True)
            return msgspec.msgpack.decode(zlib.decompressobj().decompress(packed, _STATES), type=dict[str, bytes])
        except (zlib.error, msgspec.MsgspecError) as error:
            raise ValueError(f"its states cannot be read: {error}") from error


class Seen(msgspec.Struct, frozen=True):
    """A retained checkpoint as read from the broker."""

    stream: str
    time: str
    epoch: str
    last_seq: int
    published_seq: int
    runs: tuple[str, ...] = ()
    totals: dict[str, Any] = {}
    open: dict[str, Any] = {}
    resume: Resume | None = None


class Found(msgspec.Struct, frozen=True):
    """The verdict: why the store must not go on, and the last numbers that may stay (None: all of this epoch)."""

    cause: Cause
    fork: dict[str, int] | None = None


def packed(seq: int, time: str, states: Mapping[str, bytes]) -> Resume | None:
    """Return ``states`` as they stand in a checkpoint, None when they are too large for it."""
    text = base64.b64encode(zlib.compress(msgspec.msgpack.encode(dict(states)))).decode()
    return Resume(seq, time, text) if len(text) <= LARGEST else None


def read(payload: bytes) -> Seen:
    """Return a checkpoint. Raises ValueError for what is none."""
    seen = from_json(payload, Seen)
    parse(seen.time)
    if seen.resume is not None:
        parse(seen.resume.time)
    return seen


def judge(lineage: Lineage, epoch: str, seen: Iterable[Seen]) -> Found:
    """Return whether a store of ``lineage``, now in ``epoch``, is the one that wrote the checkpoints or has followed it."""
    checkpoints = tuple(seen)
    causes = [cause for one in checkpoints if (cause := _contradiction(lineage, epoch, one))]
    return Found(causes[0], fork(lineage, epoch, checkpoints)) if causes else Found("")


def _contradiction(lineage: Lineage, epoch: str, one: Seen) -> Cause:
    runs, tokens = lineage.runs, lineage.tokens
    epochs = {run.epoch for run in runs} | {epoch}
    newest = one.runs[-1] if one.runs else None
    if newest == tokens[-1]:
        return ""  # our own, of this run
    if newest is not None and newest in tokens:
        following = runs[tokens.index(newest) + 1]
    elif newest is not None and one.epoch in epochs:
        return "forked"
    else:
        following = runs[-1]  # of a program that did not name runs, or a store that has nothing to do with this one
    if one.epoch not in epochs:
        return "superseded" if one.epoch > epoch else ""  # epochs are ULIDs: the greater one is younger
    return "behind" if one.epoch == following.epoch and one.last_seq > following.heads.get(one.stream, 0) else ""


def fork(lineage: Lineage, epoch: str, seen: Iterable[Seen]) -> dict[str, int] | None:
    """Return where this store and the one that wrote the checkpoints part: the heads at its first run that the other did not see."""
    named = {token for one in seen for token in one.runs}
    common = [place for place, token in enumerate(lineage.tokens[:-1]) if token in named]
    following = lineage.runs[common[-1] + 1] if common else lineage.runs[-1]
    return dict(following.heads) if following.epoch == epoch else None


def foreign(lineage: Lineage, seen: Iterable[Seen]) -> tuple[Run, ...]:
    """Return the runs that wrote the checkpoints, as this store notes them so that it knows them from now on."""
    runs: dict[str, Run] = {}
    for one in sorted(seen, key=lambda each: parse(each.time)):
        if one.runs and one.runs[-1] not in lineage.tokens:
            before = runs.get(one.runs[-1])
            heads = {**(before.heads if before else {}), one.stream: one.last_seq}
            runs[one.runs[-1]] = Run(one.runs[-1], one.epoch, heads)
    return tuple(runs.values())


def newest(seen: Sequence[Seen]) -> Seen | None:
    """Return the youngest checkpoint."""
    return max(seen, key=lambda each: parse(each.time), default=None)


def doubt(one: Seen, kept: int | None) -> dict[str, Any]:
    """Return the numbers of which nobody knows whether they were delivered: those above ``kept`` in our store and above what was confirmed.

    ``to_seq`` is the last one that is known to have been given; what the other store gave after its last checkpoint is not known.
    """
    first = max(one.published_seq, kept or 0) + 1
    return {
        "epoch": one.epoch,
        "from_seq": first,
        "to_seq": one.last_seq if one.last_seq >= first else None,
        "checkpoint_at": one.time,
    }
