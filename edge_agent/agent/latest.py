"""The newest sample of every tag, for people who look. Kept only where the status page is configured; nothing of it is stored or sent anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from edge_agent.agent.collect import DeviceState
from edge_agent.events.encode import json_value
from edge_agent.model.instant import iso
from edge_agent.model.reading import Batch, Tag, Value
from edge_agent.status.pagereport import Quality, TagCounts, TagReport, TagsHead, TagsWish

TAG_BAD: Final = "tag_bad"
TAG_UNCERTAIN: Final = "tag_uncertain"
TAG_WAITS: Final = "tag_waits"

_QUALITIES: Final[tuple[Quality, ...]] = ("good", "uncertain", "bad")
_LONGEST = 200
"""Characters of a text or elements of an array that are shown."""


class _Held:
    """The newest sample of one tag, and the revision that it came with."""

    __slots__ = ("basis", "detail", "names", "quality", "revision", "tag", "time", "value")

    def __init__(self, tag: Tag, revision: int) -> None:
        self.tag = tag
        self.names = dict(tag.names)
        self.revision = revision
        self.value: Value | None = None
        self.quality = -1
        self.time = 0
        self.basis: Any = None
        self.detail: str | None = None


class Latest:
    """Takes in what devices send and tells what of it is asked for, with a revision that grows with every change.

    A revision begins at the time of the start in us: one of an earlier run is lower than all of this run, so that its asker gets everything.
    """

    def __init__(self, devices: Mapping[str, Sequence[Tag]], now: int) -> None:
        """Hold ``devices``, each tag in the order of its device; ``now`` is UTC ns."""
        self._revision = self._begun = now // 1000
        self._devices = {name: [_Held(tag, self._revision) for tag in tags] for name, tags in devices.items()}
        self._faults: dict[str, tuple[str, str]] = {}
        self._down: dict[str, tuple[str, str] | None] = dict.fromkeys(devices)

    def follow(self, devices: Mapping[str, Sequence[Tag]]) -> None:
        """Hold ``devices`` from now on: what is held of one whose tags are the same stays. Whoever asks next gets everything."""
        self._revision = self._begun = self._revision + 1
        before, self._devices = self._devices, {}
        for name, tags in devices.items():
            held = before.get(name, [])
            same = [one.tag for one in held] == list(tags)
            self._devices[name] = held if same else [_Held(tag, self._revision) for tag in tags]
        self._down = {name: self._down.get(name) for name in devices}

    async def deliver(self, batch: Batch) -> None:
        """Take in what a device sent; what was sampled while nobody listened is history."""
        if batch.historical or not batch.tags:
            return
        held, details, received = self._devices[batch.device], batch.details, batch.received
        self._revision = revision = self._revision + 1
        for row, (tag, value, quality, source, server) in enumerate(
            zip(batch.tags, batch.values, batch.quality, batch.source, batch.server, strict=True)
        ):
            one = held[tag]
            one.value, one.quality, one.revision = value, int(quality), revision
            one.time = source or server or received
            one.basis = "source" if source else "server" if server else "agent"
            one.detail = details.get(row)

    def look(self, states: Mapping[str, DeviceState], raised: Iterable[tuple[str, str, str]]) -> None:
        """Take note of devices that are down and of faults of single tags (code, ref, text); their tags change with them."""
        faults = {ref: (code, text) for code, ref, text in raised}
        changed = {ref for ref in faults.keys() | self._faults.keys() if faults.get(ref) != self._faults.get(ref)}
        down = {name: _away(state) for name, state in states.items()}
        self._faults = faults
        flipped = {name for name in self._devices if down.get(name) != self._down.get(name)}
        self._down |= down
        if not changed and not flipped:
            return
        self._revision += 1
        for name, held in self._devices.items():
            for one in held:
                if name in flipped or one.tag.ref in changed:
                    one.revision = self._revision

    def tags(self, wish: TagsWish, now: int) -> tuple[TagsHead, Sequence[TagReport]]:
        """Return how many there are, and those that are wished for; ``now`` is UTC ns."""
        counts: Counter[str] = Counter()
        found: list[TagReport] = []
        wanted, since = _filter(wish), wish.since if wish.since >= self._begun else 0
        for device, held in self._devices.items():
            down = self._down.get(device)
            for one in held:
                quality: Quality = "bad" if down is not None else _QUALITIES[one.quality] if one.quality >= 0 else "none"
                counts[quality] += 1
                if one.revision > since and (not wish.limit or len(found) < wish.limit) and wanted(one, quality):
                    found.append(self._report(one, quality, down))
        totals = TagCounts(counts.total(), counts["good"], counts["uncertain"], counts["bad"], counts["none"])
        return TagsHead(self._revision, iso(now), totals, whole=since == 0), found

    def _report(self, one: _Held, quality: Quality, down: tuple[str, str] | None) -> TagReport:
        tag = one.tag
        code, detail = down or self._faults.get(tag.ref) or (_code(quality), one.detail)
        return TagReport(
            ref=tag.ref,
            device=tag.device,
            name=tag.name,
            value=_shown(one.value),
            text=one.names.get(one.value) if one.names and isinstance(one.value, int) else None,
            unit=tag.uom,
            quality=quality,
            time=iso(one.time) if one.time else None,
            basis=one.basis,
            detail=detail,
            code=code,
        )


def _away(state: DeviceState) -> tuple[str, str] | None:
    """Return code and text of a device that is down; one that was never tried is not."""
    return (state.fault or "device_down", state.error) if state.up is False else None


def _code(quality: Quality) -> str | None:
    return {"bad": TAG_BAD, "uncertain": TAG_UNCERTAIN, "none": TAG_WAITS}.get(quality)


def _filter(wish: TagsWish) -> Callable[[_Held, str], bool]:
    word = (wish.q or "").lower()

    def wanted(one: _Held, quality: str) -> bool:
        if wish.device is not None and one.tag.device != wish.device:
            return False
        if wish.quality is not None and wish.quality != quality and (wish.quality != "not_good" or quality == "good"):
            return False
        return not word or word in one.tag.ref.lower() or word in (one.detail or "").lower()

    return wanted


def _shown(value: Value | None) -> object:
    """Return a value as JSON has it, not longer than anybody reads."""
    if isinstance(value, bytes):
        return value[: _LONGEST // 2].hex()
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
    if isinstance(value, tuple):
        return [_shown(each) for each in value[:_LONGEST]]  # type: ignore[arg-type]
    return json_value(value)
