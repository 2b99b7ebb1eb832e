"""The check weigher's hand-over: one sample stands in the record until its Seq is acknowledged, later ones wait in a queue.

Pure: it is told the time and gives back what the PLC writes, in order. The fields come before Seq, and SeqEnd comes last. A
power-off loses what stands and what waits. A dropped acknowledgement is one that the PLC overlooks: after a while it raises the
same Seq again (Seq 0, then the record anew), as a PLC does that saw no answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from simulators.line import Change, Sample
from simulators.vocabulary import SECOND

_PULSE = SECOND // 10
"""How long Seq is 0 before the record is raised again."""


@dataclass(frozen=True)
class Step:
    """What happened in the hand-over, for the ledger, and the writes it makes."""

    t: int
    what: str
    sample: Sample
    writes: tuple[Change, ...]


class Handshake:
    """The record's state."""

    def __init__(self, samples: Iterable[Sample], dropped: Iterable[int] = (), reraise_after: int = 2 * SECOND) -> None:
        self._coming = deque(samples)
        self._waiting: deque[Sample] = deque()
        self._standing: Sample | None = None
        self._to_drop = set(dropped)
        self._reraise_after = reraise_after
        self._again: deque[tuple[int, int]] = deque()  # (time, Seq) of a re-raise: first 0, then the number

    def next_time(self) -> int | None:
        """When `advance` has something to do again, None for never."""
        times = [one[0] for one in list(self._again)[:1]] + [one.t for one in list(self._coming)[:1]]
        return min(times, default=None)

    def advance(self, t: int) -> list[Step]:
        """Do everything that is due up to and including t."""
        steps: list[Step] = []
        while (due := self.next_time()) is not None and due <= t:
            if self._again and self._again[0][0] == due:
                steps += self._raise_again()
                continue
            sample = self._coming.popleft()
            if self._standing is None:
                steps.append(self._present(sample.t, sample))
            else:
                self._waiting.append(sample)
                steps.append(Step(sample.t, "sample.waits", sample, ()))
        return steps

    def acknowledge(self, t: int, seq: int) -> list[Step]:
        """Take an acknowledgement written at t."""
        sample = self._standing
        if sample is None or seq != sample.seq or self._again:
            return []
        if sample.k in self._to_drop:
            self._to_drop.remove(sample.k)
            self._again.extend(((t + self._reraise_after, 0), (t + self._reraise_after + _PULSE, seq)))
            return [Step(t, "sample.ack_dropped", sample, ())]
        self._standing = None
        steps = [Step(t, "sample.acknowledged", sample, (Change(t, "rec_ack", seq),))]
        if self._waiting:
            steps.append(self._present(t, self._waiting.popleft()))
        return steps

    def power_off(self, t: int) -> list[Step]:
        """Lose everything that was not acknowledged."""
        lost = [*([] if self._standing is None else [self._standing]), *self._waiting]
        self._standing = None
        self._waiting.clear()
        self._again.clear()
        return [Step(t, "sample.lost", sample, ()) for sample in lost]

    def _present(self, t: int, sample: Sample) -> Step:
        self._standing = sample
        values = (
            ("rec_serial", sample.serial),
            ("rec_weight", float(sample.weight)),
            ("rec_verdict", sample.verdict),
            ("rec_seq", sample.seq),
            ("rec_seq_end", sample.seq),
        )
        return Step(t, "sample.presented", sample, tuple(Change(t, tag, value) for tag, value in values))

    def _raise_again(self) -> list[Step]:
        t, seq = self._again.popleft()
        if self._standing is None:
            return []
        if seq == 0:
            zero = (Change(t, "rec_seq", 0), Change(t, "rec_seq_end", 0))
            return [Step(t, "sample.withdrawn", self._standing, zero)]
        return [self._present(t, self._standing)]
