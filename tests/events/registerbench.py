"""A bench for rules that follow registers: hand-made moments in seconds, state kept as the agent keeps it, restarts through its encoding."""

from typing import Any

import msgspec

from edge_agent.events.counter import CounterConfig
from edge_agent.events.counter import build as build_counter
from edge_agent.events.rule import Moment, Picture, Rule
from edge_agent.model.event import Context, ProductionEvent
from edge_agent.model.reading import AgentDown, Boot, DeviceDown, DeviceUp, Notice, Quality, Reading, Tag, Timestamps

S = 1_000_000_000
DAY = 1_700_000_000  # any day: instants of the tests are seconds after it

TAGS = {
    tag.ref: tag
    for tag in (
        Tag("plc1", "count"),
        Tag("plc1", "reject", "uint16"),
        Tag("plc1", "acc_time"),
        Tag("plc1", "order"),
        Tag("plc1", "mode"),
        Tag("plc1", "weight", "uint32", scale=0.1),
        Tag("plc1", "ratio", "float32"),
        Tag("plc1", "text", "string"),
        Tag("plc1", "small", "int16"),
        Tag("meter", "energy", "uint32", scale=0.01, uom="KWH"),
        Tag("meter", "power"),
        Tag("heater", "high"),
    )
}


def at(seconds: float) -> int:
    """Return an instant of the tests as UTC ns."""
    return DAY * S + round(seconds * S)


class Bench:
    """Steps rules of one unit by hand and applies their pictures; ``events`` collects what they said."""

    def __init__(self, *rules: Rule[Any], picture: Picture | None = None) -> None:
        self.rules = sorted(rules, key=lambda rule: rule.phase)
        self.states: dict[str, Any] = {rule.name: rule.initial() for rule in self.rules}
        self.picture = picture or Picture()
        self.events: list[ProductionEvent] = []
        self.commits = 0

    def step(self, seconds: float, **moment: Any) -> list[ProductionEvent]:
        """Fold one moment through all rules; return its events."""
        said: list[ProductionEvent] = []
        before = self.picture
        for rule in self.rules:
            whole = Moment(at(seconds), "filler", picture=self.picture, before=before, events=tuple(said), **moment)
            state, outcome = rule.step(self.states[rule.name], whole)
            if state is not self.states[rule.name] and state != self.states[rule.name]:
                self.commits += 1
            self.states[rule.name] = state
            if outcome.picture:
                self.picture = msgspec.structs.replace(self.picture, **outcome.picture)
            said += outcome.events
        self.events += said
        return said

    def see(
        self,
        seconds: float,
        value: Any,
        ref: str = "plc1.count",
        *,
        quality: Quality = Quality.GOOD,
        source: float | None = None,
        others: dict[str, Any] | None = None,
    ) -> list[ProductionEvent]:
        """Fold a sample of ``ref`` (and of ``others`` in the same moment), stamped by the agent unless ``source`` is given."""
        stamps = Timestamps(None if source is None else at(source), None, at(seconds))
        readings = {ref: Reading(ref, value, quality, stamps)}
        for other, content in (others or {}).items():
            readings[other] = Reading(other, content, Quality.GOOD, stamps)
        return self.step(seconds if source is None else source, readings=readings)

    def bad(self, seconds: float, ref: str = "plc1.count") -> list[ProductionEvent]:
        """Fold a bad sample without a value."""
        return self.see(seconds, None, ref, quality=Quality.BAD)

    def tick(self, seconds: float, *, final: bool = False) -> list[ProductionEvent]:
        """Fold a tick."""
        return self.step(seconds, tick=True, final=final)

    def tell(self, seconds: float, *notices: Notice) -> list[ProductionEvent]:
        """Fold notices alone, as derivation does."""
        for notice in notices:
            if isinstance(notice, DeviceDown | DeviceUp):
                down = self.picture.down
                down = down | {notice.device} if isinstance(notice, DeviceDown) else down - {notice.device}
                self.picture = msgspec.structs.replace(self.picture, down=down)
        return self.step(seconds, notices=notices)

    def down(self, seconds: float, last_good: float | None, device: str = "plc1") -> list[ProductionEvent]:
        """Lose a device."""
        return self.tell(seconds, DeviceDown(device, at(seconds), None if last_good is None else at(last_good), "gone"))

    def up(self, seconds: float, device: str = "plc1") -> list[ProductionEvent]:
        """Have a device back."""
        return self.tell(seconds, DeviceUp(device, at(seconds)))

    def boot(self, seconds: float, boot_id: int | None, started: int | None = None) -> list[ProductionEvent]:
        """Tell boot evidence of plc1."""
        return self.tell(seconds, Boot("plc1", at(seconds), boot_id, started))

    def restart(self, since: float, until: float) -> list[ProductionEvent]:
        """Have the agent killed and started again: every state goes through its stored form."""
        self.revive()
        return self.tell(until, AgentDown(at(since), at(until)))

    def revive(self) -> None:
        """Put every rule state and the picture through their stored form."""
        for rule in self.rules:
            self.states[rule.name] = msgspec.msgpack.decode(msgspec.msgpack.encode(self.states[rule.name]), type=rule.state_type)
        self.picture = msgspec.msgpack.decode(msgspec.msgpack.encode(self.picture), type=Picture)

    def context(self, **members: str | None) -> None:
        """Change the context as the context rule would have done before the next moment."""
        self.picture = msgspec.structs.replace(self.picture, context=msgspec.structs.replace(self.picture.context, **members))

    def of(self, kind: str) -> list[ProductionEvent]:
        """Return all events of a type so far."""
        return [event for event in self.events if event.type == kind]

    @property
    def counted(self) -> int:
        """The sum of all counts."""
        return sum(event.data["delta"] for event in self.of("production.count"))


def counter(name: str = "total", *, context_tags: dict[str, str] | None = None, **config: Any) -> Rule[Any]:
    """Return a counter rule; a PackML counter of at most 3/s unless told otherwise."""
    given = {"tag": "plc1.count", "role": "total", "wraps": "packml", "max_rate": "3/s", **config}
    (rule,) = build_counter(CounterConfig(**given), unit="filler", name=name, tags=TAGS, context_tags=context_tags)
    return rule


def told(events: list[ProductionEvent]) -> list[tuple[Any, ...]]:
    """Return counter events in short: (delta, derivation) of counts, (kind, delta, max uncounted) of discontinuities."""
    short: list[tuple[Any, ...]] = []
    for event in events:
        if event.type == "production.count":
            short.append((event.data["delta"], event.derivation))
        elif event.type == "counter.discontinuity":
            short.append((event.data["kind"], event.data["counted_delta"], event.data["uncounted"]["max"]))
    return short


ORDER_1 = Context(order="WO-1", product="4711", mode="Production", shift="N")
