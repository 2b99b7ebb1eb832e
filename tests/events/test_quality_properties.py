"""Properties of records: whatever is lost on the way, each record that the PLC held up is told exactly once."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rulebench import Bench, tags_of

from edge_agent.events.quality import RecordConfig, build

CONFIG = RecordConfig.model_validate(
    {
        "pattern": "seq_ack",
        "seq": "plc.seq",
        "seq_end": "plc.end",
        "ack": "plc.ack",
        "fields": {"value": "plc.weight", "serial": "plc.serial"},
        "characteristic": "net_weight",
    }
)
TAGS = tags_of("plc.seq", "plc.end", "plc.weight", "plc.serial", acknowledge=("plc.ack",))


class Plc:
    """A PLC that holds each record until it is acknowledged, and may lose its memory, or keep it, at a restart."""

    def __init__(self) -> None:
        """Stand there with nothing."""
        self.boot, self.seq, self.ack, self.k = 1, 0, 0, 0
        self.standing = False
        self.told: list[str] = []

    def fill(self) -> None:
        """Show the next record, when the one before was taken."""
        if not self.standing:
            self.k += 1
            self.seq += 1
            self.standing = True

    def take(self, seq: int) -> None:
        """Take an acknowledgement."""
        self.ack = seq
        if seq == self.seq:
            self.standing = False

    def restart(self, *, retentive: bool) -> None:
        """Boot again."""
        self.boot += 1
        if not retentive:
            self.seq, self.ack, self.standing = 0, 0, False

    def rows(self, *, torn: bool = False) -> dict[str, Any]:
        """Give what one read finds."""
        return {
            "plc.seq": self.seq,
            "plc.end": self.seq - 1 if torn else self.seq,
            "plc.weight": 500.0 + self.k,
            "plc.serial": f"S{self.k}",
            "plc.ack": self.ack,
        }


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["fill", "read", "read", "torn", "kill", "boot", "keep", "cut", "wait"]), st.booleans()),
        max_size=60,
    )
)
def test_each_record_is_told_exactly_once(story: list[tuple[str, bool]]) -> None:
    """Re-raises, lost acknowledgements, torn reads, restarts of both sides: no record twice, none that was read missing."""
    plc, line = Plc(), Bench(build(CONFIG, unit="filler", name="weigher", tags=TAGS))
    line.up(0, boot=plc.boot)
    held: list[str] = []
    for t, (what, arrives) in enumerate(story, 1):
        line.effects.clear()
        if what == "fill":
            plc.fill()
        elif what == "kill":
            line.agent_down(t - 0.5, t)
        elif what == "cut":
            line.down(t, t - 0.5)
            line.up(t, boot=plc.boot)
        elif what in {"boot", "keep"}:
            plc.restart(retentive=what == "keep")
            line.down(t, t - 0.5)
            line.up(t, boot=plc.boot)
        elif what == "wait":
            line.tick(t * 100)
        else:
            line.read(t, "weigher", plc.rows(torn=what == "torn"))
            if what == "read" and plc.standing and f"S{plc.k}" not in held:
                held.append(f"S{plc.k}")
        for effect in line.effects:
            if arrives:
                plc.take(effect.value)  # type: ignore[arg-type]
    told = [event.data["unit"]["serial"] for event in line.told("quality.result")]
    assert told == held
    keys = [tuple(event.data["source_key"].values()) for event in line.told("quality.result")]
    assert len(keys) == len(set(keys))
