"""Patterns over browse paths, and names for what they find (pure).

``Line1/**`` is everything below Line1, at any depth; ``*/Motor?/Speed`` and ``Motor[12]`` are as in a shell; ``&`` takes the next
character as it is. A pattern has no namespaces: browse names are compared without them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final, Literal

_SEGMENT: Final = re.compile(r"(?:&.|[^/&])+", re.DOTALL)
_TOKEN: Final = re.compile(r"&(.)|(\*)|(\?)|(\[[^\]/]+\])|(.)", re.DOTALL)
_ANY_DEPTH: Final = "**"
_LONGEST: Final = 64
_HASH: Final = 6

Naming = Literal["path", "leaf"]
States = frozenset[int]


class Pattern:
    """A parsed pattern. `start`, `below` and `done` walk it beside a tree, so that no branch is entered that cannot match."""

    def __init__(self, text: str) -> None:
        """Parse ``Line1/**``; raises ValueError with the remedy."""
        body = text.lstrip("/")
        segments = _SEGMENT.findall(body)
        if not segments or body not in {"/".join(segments), "/".join(segments) + "/"}:
            raise ValueError(f"{text!r} is no pattern of browse names; write Line1/**, or Line1/*/Speed")
        if segments[0] == "Objects" and len(segments) > 1:
            segments = segments[1:]
        self.text = text
        self._steps: tuple[re.Pattern[str] | None, ...] = tuple(
            None if segment == _ANY_DEPTH else _compiled(segment, text) for segment in segments
        )

    @property
    def start(self) -> States:
        """The states at the Objects folder."""
        return self._closed({0})

    def _closed(self, states: set[int]) -> States:
        """Add what ``**`` reaches without a step: it may stand for no level at all, but not at the end."""
        for state in sorted(states):
            at = state
            while at < len(self._steps) - 1 and self._steps[at] is None:
                at += 1
                states.add(at)
        return frozenset(states)

    def below(self, states: States, name: str) -> States:
        """Return the states at a child called ``name``; none = nothing there or below can match."""
        out: set[int] = set()
        for state in states:
            if state == len(self._steps):
                continue
            step = self._steps[state]
            if step is None:
                out |= {state, state + 1} if state == len(self._steps) - 1 else {state}
            elif step.fullmatch(name):
                out.add(state + 1)
        return self._closed(out)

    def done(self, states: States) -> bool:
        """Whether the node itself matches."""
        return len(self._steps) in states

    def matches(self, path: Sequence[str]) -> bool:
        """Whether a whole path matches; a pattern of one segment is also compared with the last name alone."""
        states = self.start
        for name in path:
            states = self.below(states, name)
        alone = len(self._steps) == 1 and self._steps[0] is not None and bool(path)
        return self.done(states) or (alone and self.done(self.below(self.start, path[-1])))


def _compiled(segment: str, text: str) -> re.Pattern[str]:
    out = []
    for escaped, star, question, klass, plain in _TOKEN.findall(segment):
        if star:
            out.append(".*")
        elif question:
            out.append(".")
        elif klass:
            inside = klass[1:-1].replace("\\", r"\\").replace("[", r"\[")
            out.append(f"[^{inside[1:]}]" if inside[0] == "!" else f"[{inside.replace('^', chr(92) + '^')}]")
        else:
            out.append(re.escape(escaped or plain))
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error as error:
        raise ValueError(f"{text!r} is no pattern: {error}") from None


def tag_names(paths: Sequence[Sequence[str]], naming: Naming, prefix: str = "") -> list[str]:
    """Return a name for each path: its steps, or its last one, joined by ``_``, with everything but letters, digits, ``_`` and ``-`` replaced.

    A name that is too long, or that two paths have, gets a short hash of its path: which one does not depend on the order, nor on
    what else is there, but for a twin.
    """
    plain = [_plain(prefix, path if naming == "path" else path[-1:]) for path in paths]
    count: dict[str, int] = {}
    for name in plain:
        count[name] = count.get(name, 0) + 1
    return [
        name if count[name] == 1 and len(name) <= _LONGEST else f"{name[: _LONGEST - _HASH - 1]}_{_hash(path)}"
        for name, path in zip(plain, paths, strict=True)
    ]


def _plain(prefix: str, steps: Sequence[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", prefix + "_".join(steps)).strip("_-")
    return name or "tag"


def _hash(path: Sequence[str]) -> str:
    return hashlib.sha256("/".join(path).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
