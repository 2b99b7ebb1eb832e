"""Counts what an export holds a declared loss for instead of a record, because the record is damaged."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence

from edge_agent.cli.words import many
from edge_agent.model.outside import from_json
from edge_agent.model.stream import Record

INCOMPLETE = 3
"""Exit code: everything that can be read is there, and something else is not."""
_GAP = "collection.gap.v1"
_EPOCH = 26


class Missing:
    """Numbers that are damaged, by stream and epoch."""

    def __init__(self) -> None:
        """Nothing is missing yet."""
        self._ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self.unknown = False

    def see(self, lines: bytes) -> None:
        """Look at CloudEvents, one a line."""
        if b'"corruption"' not in lines:
            return
        for line in lines.splitlines():
            if b'"corruption"' in line:
                event = from_json(line, dict)
                self._gap(_stream(event["id"], event["source"]), event["id"][:_EPOCH], event["type"], event["data"])

    async def watch(self, pages: AsyncIterator[Sequence[Record]]) -> AsyncIterator[Sequence[Record]]:
        """Pass records on, and look at them."""
        async for records in pages:
            for record in records:
                if record.entry.type.endswith(_GAP):
                    self._gap(record.key.stream, record.key.epoch, record.entry.type, from_json(record.entry.body, dict))
            yield records

    def _gap(self, stream: str, epoch: str, kind: str, data: dict[str, object]) -> None:
        if not kind.endswith(_GAP) or data.get("reason") != "corruption":
            return
        first, last = data.get("seq_from"), data.get("seq_to")
        if isinstance(first, int) and isinstance(last, int):
            self._ranges.setdefault((stream, epoch), []).append((first, last))
        else:
            self.unknown = True

    def tell(self, what: str, damaged: str | None) -> int:
        """Say on stderr what is missing of ``what`` ("exported"), and return the exit code. ``damaged`` says so of the store itself."""
        if damaged is not None:
            print(f"damaged: {damaged}; what can be read of it was {what}, and it was left as it is", file=sys.stderr)
        for (stream, epoch), ranges in sorted(self._ranges.items()):
            numbers = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges)
            total = sum(last - first + 1 for first, last in ranges)
            print(
                f"missing: {stream} {numbers} ({many(total, 'record')} of epoch {epoch}): declared by a collection.gap each",
                file=sys.stderr,
            )
        if self.unknown:
            print("missing: perhaps what was written last, nobody can know how much: declared by a collection.gap", file=sys.stderr)
        return INCOMPLETE if self._ranges or self.unknown or damaged is not None else 0


def _stream(identity: str, source: str) -> str:
    """Return the stream of an event as `buffer status` calls it: an id has a dot for each slash, the source ends with the name itself."""
    dotted = identity[_EPOCH + 1 :].rpartition("-")[0]
    named = source[-len(dotted) :]
    return named if named.replace("/", ".") == dotted else dotted
