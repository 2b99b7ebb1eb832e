"""How often a broker called one message invalid, over reconnects: once may be a mistake of the broker's, three times is the message.

Pure. What has been set aside for a topic once is not tried again there: a whole stream that a broker will not have would otherwise
cost every record its reconnects.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

T = TypeVar("T")

_REMEMBERED = 1_000


class Tries:
    """Refusals of the last messages, by a name that is the same at each try."""

    def __init__(self, most: int) -> None:
        """Call a message hopeless at its ``most``-th refusal."""
        self.most = most
        self._count: OrderedDict[str, int] = OrderedDict()
        self._hopeless: OrderedDict[str, None] = OrderedDict()

    def refused(self, name: str, topic: str) -> bool:
        """Count one refusal of ``name`` on ``topic``; return whether it was the last one it gets."""
        count = self._count.pop(name, 0) + 1
        if count >= self.most or topic in self._hopeless:
            _remember(self._hopeless, topic, None)
            return True
        _remember(self._count, name, count)
        return False

    def accepted(self, topic: str) -> None:
        """Forget the verdict on a topic that works."""
        if self._hopeless:
            self._hopeless.pop(topic, None)


def _remember(known: OrderedDict[str, T], name: str, value: T) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
