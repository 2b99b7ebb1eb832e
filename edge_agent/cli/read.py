"""``edge-agent read``: every tag once, or as it changes. Publishes nothing, stores nothing, writes nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_agent import logs
from edge_agent.agent.clock import WallClock
from edge_agent.cli.owner import as_owner
from edge_agent.cli.progress import Progress
from edge_agent.cli.words import table
from edge_agent.config.load import load
from edge_agent.config.words import did_you_mean
from edge_agent.drivers import catalog
from edge_agent.drivers.catalog import DeviceConfig
from edge_agent.model.condition import CONDITION
from edge_agent.model.errors import ConfigError, DisconnectedError
from edge_agent.model.instant import iso
from edge_agent.model.reading import Batch, Reading, Tag, Value
from edge_agent.ports import Identity

_PATIENCE: Final = 15.0
"""Machine seconds until a tag that has not come is given up, and how many tags a second a slow server gives."""
_PER_SECOND: Final = 500
_MOST_WORDS: Final = 8
"""Registers that are shown of one value."""
_MOST_WHY: Final = 1000
"""Characters of a reason: the command that mends it stands at its end, and half of it would be another command."""


class Shown(NamedTuple):
    """One sample as it is printed; ``raw`` is the value before scale and offset, ``words`` the registers it was made of (Modbus)."""

    tag: Tag
    value: Value | None
    raw: Value | None
    reading: Reading | None
    detail: str | None
    words: tuple[int, ...] = ()


def read(directory: Path, device: str | None, *, follow: bool, as_json: bool) -> int:
    """Print the tags of a device, or of all; return 0 when every value is good, 1 when some is not. Raises EdgeAgentError."""
    logs.configure("error")
    config = load(directory)
    devices = _chosen(config.devices, device)
    try:
        with as_owner(config.identity.folder):
            return asyncio.run(_read(devices, config.identity, follow=follow, as_json=as_json))
    except KeyboardInterrupt:
        return 0


def _chosen(devices: Sequence[DeviceConfig], name: str | None) -> Sequence[DeviceConfig]:
    known = {device.device: device for device in devices}
    if not known:
        raise ConfigError("there is no device; put one into devices/ beside agent.yaml")
    if name is not None and name not in known:
        raise ConfigError(f"there is no device {name!r}; {did_you_mean(name, known)}")
    return [known[name]] if name is not None else devices


async def _read(devices: Sequence[DeviceConfig], identity: Identity, *, follow: bool, as_json: bool) -> int:
    groups: dict[Hashable, list[DeviceConfig]] = {}
    for device in devices:
        groups.setdefault(catalog.link(device), []).append(device)
    progress = Progress()
    latest: dict[str, Shown] = {}
    lanes = [Lane(group, latest, identity) for group in groups.values()]
    if follow:
        # No TaskGroup: what ends a lane (a reader that went away) has to come out as it is, and the end of the loop ends the others.
        await asyncio.gather(*(lane.follow(_line_json if as_json else _line) for lane in lanes))
        return 0
    waiting = asyncio.gather(*(lane.once() for lane in lanes))
    while not (await asyncio.wait([waiting], timeout=0.5))[0]:
        progress(f"{len(latest)} of {sum(len(lane.tags) for lane in lanes)} tags")
    progress.done()
    await waiting
    rows = [latest[tag.ref] for device in devices for tag in _values_of(device)]
    print(json.dumps([_document(row) for row in rows], indent=2) if as_json else "\n".join(_table(rows)))
    return int(any(_quality(row) != "good" for row in rows))


class Lane:
    """The devices behind one endpoint; what they show goes into ``latest``, by ``device.tag``."""

    def __init__(self, devices: Sequence[DeviceConfig], latest: dict[str, Shown], identity: Identity) -> None:
        self._devices = devices
        self._identity = identity
        self._latest = latest
        self.tags = {tag.ref: tag for device in devices for tag in _values_of(device)}
        self._known = {device.device: (catalog.tags_of(device), catalog.scalings(device)) for device in devices}
        asked = {device.device: catalog.with_words(catalog.unscaled(device)) for device in devices}
        self._plain = [config for config, _ in asked.values()]
        self._words = {name: words for name, (_, words) in asked.items()}
        self._registers: dict[str, dict[int, Value | None]] = {name: {} for name in asked}

    async def once(self) -> None:
        """Read until every tag has been seen; one that does not come says why."""
        patience = _PATIENCE + len(self.tags) / _PER_SECOND
        why = f"no value within {patience:.0f} s"
        try:
            async with asyncio.timeout(patience), catalog.connect(self._plain, WallClock(), {}, self._identity) as driver:
                while not self.tags.keys() <= self._latest.keys():
                    for shown in self._shown(await driver.read()):
                        self._latest.setdefault(shown.tag.ref, shown)
        except DisconnectedError as error:
            why = str(error)
        except TimeoutError:
            pass
        for ref, tag in self.tags.items():
            self._latest.setdefault(ref, Shown(tag, None, None, None, why))

    async def follow(self, line: Callable[[Shown], str]) -> None:
        """Print every sample; a lost endpoint is told and tried again, until cancelled."""
        while True:
            try:
                async with catalog.connect(self._plain, WallClock(), {}, self._identity) as driver:
                    while True:
                        for shown in self._shown(await driver.read()):
                            print(line(shown), flush=True)
            except DisconnectedError as error:
                print(f"{', '.join(device.device for device in self._devices)}: {error}", file=sys.stderr)
            await asyncio.sleep(2)

    def _shown(self, batches: Sequence[Batch]) -> Iterator[Shown]:
        for batch in batches:
            tags, scalings = self._known[batch.device]
            registers, words = self._registers[batch.device], self._words[batch.device]
            registers.update(zip(batch.tags, batch.values, strict=True))
            for row, place in enumerate(batch.tags):
                if place >= len(tags):
                    continue  # a register of a tag
                tag, raw = tags[place], batch.values[row]
                reading = batch.reading(row, tag.ref)
                value = None if raw is None else scalings[place](raw)
                lost = raw is not None and value is None
                own = tuple(word for at in words.get(place, ()) if isinstance(word := registers.get(at), int))
                yield Shown(tag, value, raw, reading, "out of range after scaling" if lost else reading.detail, own)


def _values_of(device: DeviceConfig) -> list[Tag]:
    """Return the tags that have a value to show; alarm sources have events."""
    return [tag for tag in catalog.tags_of(device) if tag.type != CONDITION]


def _named(shown: Shown) -> str | None:
    return dict(shown.tag.names).get(shown.value) if isinstance(shown.value, int) else None


def _document(shown: Shown) -> dict[str, Any]:
    at = shown.reading.at if shown.reading is not None else None
    return {
        "tag": shown.tag.ref,
        "value": _jsonable(shown.value),
        "name": _named(shown),
        "uom": shown.tag.uom,
        "quality": _quality(shown),
        "detail": shown.detail,
        "source": iso(at.source) if at is not None and at.source is not None else None,
        "server": iso(at.server) if at is not None and at.server is not None else None,
        "agent": iso(at.agent) if at is not None else None,
        "raw": _jsonable(shown.raw),
        "registers": [f"{word:04x}" for word in shown.words],
    }


def _jsonable(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return [_jsonable(one) for one in value] if isinstance(value, tuple) else value


def _quality(shown: Shown) -> str:
    lost = shown.reading is None or (shown.value is None and shown.raw is not None)
    return "bad" if shown.reading is None or lost else shown.reading.quality.name.lower()


def _text(value: object, most: int = 60) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.10g}" if isinstance(value, float) else value.hex(" ") if isinstance(value, bytes) else str(value)
    return "".join(char if char.isprintable() else "?" for char in text[:most])


def _cells(shown: Shown) -> tuple[str, ...]:
    at = shown.reading.at if shown.reading is not None else None
    name = _named(shown)
    time = f"{iso(at.best)} {at.basis}" if at is not None else "-"
    value = _text(shown.value) + (f" ({name})" if name else "")
    return (
        shown.tag.ref,
        value,
        shown.tag.uom or "",
        _quality(shown),
        time,
        _text(shown.raw),
        " ".join(f"{word:04x}" for word in shown.words[:_MOST_WORDS]) + " ..." * (len(shown.words) > _MOST_WORDS),
        _text(shown.detail or "", _MOST_WHY),
    )


def _table(rows: Sequence[Shown]) -> list[str]:
    head: tuple[str, ...] = ("tag", "value", "unit", "quality", "time", "raw", "registers", "why")
    cells = [_cells(row) for row in rows]
    if not any(row.words for row in rows):
        head, cells = (*head[:6], head[7]), [(*row[:6], row[7]) for row in cells]
    return list(table(head, cells))


def _line(shown: Shown) -> str:
    return "  ".join(cell for cell in _cells(shown) if cell)


def _line_json(shown: Shown) -> str:
    return json.dumps(_document(shown))
