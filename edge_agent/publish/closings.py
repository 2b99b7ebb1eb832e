"""Which message makes a broker close the connection without a word, and when nothing but the message can be the reason. Pure.

MQTT 3.1.1 has no other way to refuse, and a broker that crashes has none either; but so ends every connection on a bad line. So a message is
accused only after it was in flight, unanswered, at three such ends in a row. From then on one message at a time is sent, and whoever was alone
when the broker closed again goes to trial: each trial is a connection that was quiet first and then took other messages, several times the
bytes of this one, and that the broker closed right after this one message. Each trial must outlive and outweigh the one before, so that neither
a limit of time nor one of bytes on the way can look like a broker that means the message. Any other course of things starts anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_STUCK = 3
"""Ends in a row with the same message unanswered, until one message at a time is sent."""

_QUIET = 1.0
"""Machine seconds a connection has to live longer than the one of the trial before."""

_WEIGHT = 2
"""How many times its own bytes a connection has to carry, more than the one of the trial before, until the message goes out."""

_OTHERS = 3
"""How many messages more than at the trial before."""


class Named(NamedTuple):
    """A message: its topic, what it is called at each try (the topic again for what is not numbered), bytes of the packet."""

    topic: str
    name: str
    size: int = 0

    @property
    def numbered(self) -> bool:
        """Whether it is a record; a document is called by its topic and is made anew each time."""
        return self.name != self.topic


class Course(NamedTuple):
    """What a connection has gone through, or still has to: machine seconds, bytes of acknowledged messages, and how many those are."""

    age: float
    size: int
    messages: int


_NOTHING = Course(0.0, 0, 0)


class Closings:
    """The search, over connections."""

    def __init__(self, most: int) -> None:
        """Find a message guilty at the end of its ``most``-th trial in a row."""
        self.most = most
        self.trials = 0
        """How many trials of `alone` have ended against it."""
        self.alone = ""
        """The name of the one that was in flight alone at the last end."""
        self._unanswered: dict[str, int] = {}
        self._last = _NOTHING
        self._owing: set[str] = set()

    @property
    def careful(self) -> bool:
        """Whether one message at a time is to be sent."""
        return any(ends >= _STUCK for ends in self._unanswered.values())

    def proof(self, message: Named, so_far: Course) -> Course | None:
        """Return what a connection still has to go through before ``message``: first its silence, then the others; None: nothing.

        A topic whose last record was set aside and that has taken none since has no further trial: it is the topic, or who may write there.
        """
        if message.name != self.alone or not self.careful or message.topic in self._owing:
            return None
        margin, last = _WEIGHT * message.size, self._last
        return Course(
            max(_QUIET, last.age + _QUIET - so_far.age),
            max(margin, last.size + margin - so_far.size),
            max(_OTHERS, last.messages + _OTHERS - so_far.messages),
        )

    def closed(self, flight: Sequence[Named], trial: Course | None) -> Named | None:
        """Note that the broker closed a connection without a word while ``flight`` was unanswered; return who is guilty, if anybody is.

        ``trial`` = what it had gone through, if it had shown what `proof` asked for and ended right after that message.
        """
        self._unanswered = {message.name: self._unanswered.get(message.name, 0) + 1 for message in flight}
        alone = flight[0] if len(flight) == 1 else None
        if trial is None or alone is None or alone.name != self.alone:
            self._start("" if alone is None else alone.name)
            return None
        self.trials += 1
        self._last = Course(trial.age, trial.size + alone.size, trial.messages + 1)
        if self.trials < self.most:
            return None
        self.ended()
        if alone.numbered:
            self._owing.add(alone.topic)
        return alone

    def ended(self) -> None:
        """Note a connection that ended in any other way: whatever that was, no message was meant."""
        self._unanswered = {}
        self._start("")

    def accepted(self, message: Named) -> None:
        """Note an acknowledged message."""
        self._unanswered.pop(message.name, None)
        if message.name == self.alone:
            self._start("")
        if message.numbered and self._owing:
            self._owing.discard(message.topic)

    def _start(self, alone: str) -> None:
        self.alone, self.trials, self._last = alone, 0, _NOTHING
