"""Which message makes the broker hang up. A DISCONNECT names none, so they are sent one at a time until it shows. Pure.

The first time, everything in flight is suspect. While it is looked for, one message is in flight: whoever is alone when the broker hangs up
again was meant, and counts one refusal. Its last one condemns it; everything else goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edge_agent.publish.tries import Tries

MEANT = frozenset({0x81, 0x82, 0x90, 0x95, 0x99})
"""Codes of a DISCONNECT (MQTT 5, 3.14.2.1) by which a broker means what it was sent: malformed, against the protocol, topic, size, payload."""

AT_ONCE = 0.1
"""Machine seconds until the next try, as long as each brings the search further."""

_BARREN = 20
"""So many connections in a row without one delivered record, and it is not a message that is wrong: the ordinary pauses apply."""

_REMEMBERED = 1_000


class Named(NamedTuple):
    """A message: its topic, what it is called at each try (the topic again for what is not numbered), bytes of the packet."""

    topic: str
    name: str
    size: int = 0

    @property
    def numbered(self) -> bool:
        """Whether it is a record; a document is called by its topic and is made anew each time."""
        return self.name != self.topic


class Suspects:
    """The search, over connections."""

    def __init__(self, tries: Tries) -> None:
        """Count refusals in ``tries``."""
        self._tries = tries
        self._left = 0
        self._barren = 0
        self._condemned: dict[str, int] = {}

    @property
    def careful(self) -> bool:
        """Whether one message at a time is to be sent."""
        return self._left > 0

    def hung_up(self, flight: Sequence[Named], window: int) -> bool:
        """Note that the broker ended the connection for one of ``flight``; return whether the next try may come at once."""
        if not flight:
            return False
        self._left = max(self._left, len(flight) + window)
        if len(flight) == 1 and self._tries.refused(flight[0].name, flight[0].topic):
            self._condemned[flight[0].name] = flight[0].size
            if len(self._condemned) > _REMEMBERED:
                del self._condemned[next(iter(self._condemned))]
        return self.refused()

    def refused(self) -> bool:
        """Note a connection that ended for one message; return whether the next try may come at once."""
        self._barren += 1
        return self._barren <= _BARREN

    def accepted(self, message: Named) -> bool:
        """Note an acknowledged message; return whether this was the last one that had to go alone."""
        if not message.numbered:
            return False
        self._barren = 0
        self._left = max(0, self._left - 1)
        return self._left == 0

    def condemned(self, message: Named) -> bool:
        """Tell, before it is sent, whether ``message`` is one that the broker hangs up for.

        A record is told once: its place is taken by a loss record of the same name. A document is told until it has become smaller.
        """
        size = self._condemned.get(message.name)
        if size is None or (not message.numbered and message.size < size):
            return False
        if message.numbered:
            del self._condemned[message.name]
        return True
