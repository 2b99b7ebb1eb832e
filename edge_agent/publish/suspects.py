"""Which message makes the broker hang up. A DISCONNECT names none, so they are sent one at a time until it shows. Pure.

The first time, everything in flight is suspect. While it is looked for, one message is in flight: whoever is alone when the broker hangs up
again was meant, and counts one refusal. Its last one condemns it; everything else goes on. A broker that closes without a word says less, and
its message is found in another way: `Closings`.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.publish.closings import Closings, Course, Named
from edge_agent.publish.tries import Tries

MEANT = frozenset({0x81, 0x82, 0x90, 0x95, 0x99})
"""Codes of a DISCONNECT (MQTT 5, 3.14.2.1) by which a broker means what it was sent: malformed, against the protocol, topic, size, payload."""

AT_ONCE = 0.1
"""Machine seconds until the next try, as long as each brings the search further."""

SOON = 1.0
"""Machine seconds until the next try after a trial without a word: a broker that crashed needs its time."""

_BARREN = 20
"""So many connections in a row without one delivered record, and it is not a message that is wrong: the ordinary pauses apply."""

_TRIALS = 6
"""Least trials of a message: on the worst of simulated bad lines, three in a row came about by chance."""

_REMEMBERED = 1_000


class Suspects:
    """The search, over connections."""

    def __init__(self, tries: Tries) -> None:
        """Count refusals in ``tries``; an end without a word has to come twice as often, and six times at least."""
        self._tries = tries
        self._closings = Closings(max(_TRIALS, 2 * tries.most))
        self._left = 0
        self._barren = 0
        self._condemned: dict[str, int] = {}

    @property
    def careful(self) -> bool:
        """Whether one message at a time is to be sent."""
        return self._left > 0 or self._closings.careful

    def hung_up(self, flight: Sequence[Named], window: int) -> bool:
        """Note that the broker ended the connection for one of ``flight``; return whether the next try may come at once."""
        if not flight:
            return False
        self._left = max(self._left, len(flight) + window)
        if len(flight) == 1 and self._tries.refused(flight[0].name, flight[0].topic):
            self._condemn(flight[0])
        return self.refused()

    def closed(self, flight: Sequence[Named], trial: Course | None) -> str:
        """Note that the broker closed the connection without a word; return what is known against the message in flight, in words."""
        guilty = self._closings.closed(flight, trial)
        if guilty is not None:
            self._condemn(guilty)
        number = self._closings.most if guilty is not None else self._closings.trials
        return f"right after a message on {flight[0].topic} ({number} of {self._closings.most})" if number else ""

    def ended(self) -> None:
        """Note that the connection ended in any way but those of `hung_up` and `closed`."""
        self._closings.ended()

    def proof(self, message: Named, so_far: Course) -> Course | None:
        """Return what a connection still has to go through before ``message``, see `Closings.proof`."""
        return self._closings.proof(message, so_far)

    def refused(self) -> bool:
        """Note a connection that ended for one message; return whether the next try may come at once."""
        self._barren += 1
        return self._barren <= _BARREN

    def accepted(self, message: Named) -> bool:
        """Note an acknowledged message; return whether the next ones need not go alone."""
        self._closings.accepted(message)
        if message.numbered:
            self._barren = 0
            self._left = max(0, self._left - 1)
        return not self.careful

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

    def _condemn(self, message: Named) -> None:
        self._condemned[message.name] = message.size
        if len(self._condemned) > _REMEMBERED:
            del self._condemned[next(iter(self._condemned))]
