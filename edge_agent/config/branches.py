"""Where a key takes one of several kinds of value: what is wrong is told of the kind that was meant, not of all of them (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from edge_agent.config.source import Path_
from edge_agent.config.words import KINDS

_Error = dict[str, Any]


def meant(errors: Iterable[_Error], path: Callable[[_Error], Path_]) -> list[_Error]:
    """Return ``errors`` of pydantic without those that say "is not text" of a value in which another kind got further; ``path`` is where one stands."""
    placed = [(error, path(error)) for error in errors]
    return [error for error, where in placed if not (_other_kind(error, where) and _got_further(placed, where))]


def _other_kind(error: _Error, where: Path_) -> bool:
    """Whether it is about the kind of the whole value, as one branch of several: pydantic's place then ends in the name of the branch."""
    return error["type"] in KINDS and error["loc"][-1:] != where[-1:]


def _got_further(placed: Sequence[tuple[_Error, Path_]], where: Path_) -> bool:
    return any(at[: len(where)] == where and (len(at) > len(where) or not _other_kind(error, at)) for error, at in placed)
