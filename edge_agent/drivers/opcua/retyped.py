"""Tags whose device sends another type than they were declared with, as a PLC program that was changed does: told once, taken back once.

A tag that changes to and fro is not told each time: it is taken back after `_HOLD` without a wrong value, with the next batch of the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from edge_agent.model.reading import Batch, Quality, Tag, TagStatus

CODE: Final = "type_changed"
_HOLD: Final = 10_000_000_000
"""Plant ns for which a tag has to send no wrong type until it is said to be right again."""


class Retyped:
    """What is known about the types that one device sends."""

    def __init__(self, device: str, tags: Sequence[Tag]) -> None:
        self._device, self._tags = device, tags
        self._wrong: dict[int, int] = {}
        self._right: set[int] = set()

    def look(self, batch: Batch, other: Mapping[int, str]) -> list[TagStatus]:
        """Return what is news in a batch; ``other`` says by row what is wrong with the type there."""
        if not other and not self._wrong:
            return []
        now, last = batch.received, dict[int, str]()
        for row, tag in enumerate(batch.tags):
            if row in other:
                last[tag] = other[row]
                self._right.discard(tag)
            elif (tag in self._wrong or tag in last) and batch.quality[row] != Quality.BAD:
                self._right.add(tag)
        news = [
            TagStatus(self._device, now, self._tags[tag].name, False, why, CODE)
            for tag, why in last.items()
            if tag not in self._wrong
        ]
        self._wrong.update(dict.fromkeys(last, now))
        for tag in [tag for tag in self._right if now - self._wrong[tag] >= _HOLD]:
            self._right.discard(tag)
            del self._wrong[tag]
            news.append(TagStatus(self._device, now, self._tags[tag].name, True, "", CODE))
        return news
