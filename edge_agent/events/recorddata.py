"""What a record says: from the values of its fields to the event that the entry names, whatever the pattern of its hand-over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from edge_agent.events.belonging import named
from edge_agent.events.reason import meanings, reason_of
from edge_agent.events.recordconfig import SLOT, RecordConfig
from edge_agent.events.reference import device_of
from edge_agent.events.rule import Moment
from edge_agent.events.sight import Plain, plain, usable
from edge_agent.events.tables import code_of
from edge_agent.model.event import ProductionEvent
from edge_agent.model.instant import NS, iso
from edge_agent.model.reading import Quality, Reading, Timestamps

_UNITS = {"ns": 1, "us": 1000, "ms": 1_000_000, "s": NS}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0}
_FUTURE = 5 * NS
"""A record cannot have been made later than this after it was read."""


class Key(msgspec.Struct, frozen=True):
    """What makes a record one: its generation (it grows with restarts) and the PLC's number, or the time in us where it has none."""

    generation: int
    seq: int


class Content:
    """Tells the records of one entry."""

    def __init__(self, config: RecordConfig, name: str) -> None:
        """Tell records of the entry ``name``."""
        self._config, self._name = config, name
        self._device = device_of(config.key)
        self._refs = {member: ref for member, ref in config.fields if ref is not None}
        self._reasons = meanings(config.reasons, config.language)
        tellers: dict[str, Callable[[_Read, Key, Moment], dict[str, Any]]] = {
            "quality.result": self._quality,
            "unit.produced": self._unit,
            "scrap.recorded": self._scrap,
            "material.consumed": self._material,
            "operator.input": self._input,
            "cycle.completed": self._cycle,
        }
        self._teller = tellers[config.event]

    def text(self, rows: Mapping[str, Reading], slot: str = "") -> str:
        """Return the content as one text: two records with the same one are taken for the same."""
        return repr([_Read(rows, slot).value(ref) for ref in self._all])

    def serial(self, rows: Mapping[str, Reading], slot: str = "") -> str | None:
        """Return the serial of a produced unit."""
        ref = self._refs.get("serial") if self._config.event == "unit.produced" else None
        return None if ref is None else named(_Read(rows, slot).value(ref))

    def time(self, rows: Mapping[str, Reading], read: int, slot: str = "") -> int | None:
        """Return when the record says it was made (UTC ns), None where it does not say, or what cannot be."""
        time = self._config.time
        value = None if time is None else _Read(rows, slot).value(time.tag)
        if time is None or value is None or isinstance(value, bool):
            return None
        made = _parsed(value) if isinstance(value, str) else round(value * _UNITS[time.unit])
        return made if made is not None and 0 < made <= read + _FUTURE else None

    def event(
        self, rows: Mapping[str, Reading], key: Key, moment: Moment, *, time: int, at: Timestamps, slot: str = "", **more: Any
    ) -> ProductionEvent:
        """Return the event of a record that was read at ``time``, the time that stands in it taken first."""
        read = _Read(rows, slot)
        data = self._teller(read, key, moment)
        data["source_key"] = {"device": self._device, "generation": key.generation, "seq": key.seq}
        if self._config.pattern == "edge":
            data["guarantee"] = "best_effort"
        refs = self._all
        found = [rows.get(ref.replace(SLOT, slot)) for ref in refs]
        good = all(one is not None and usable(one) and one.quality is Quality.GOOD for one in found)
        made = self.time(rows, time, slot)
        quality = Quality.GOOD if good and (made is not None or self._config.time is None) else Quality.UNCERTAIN
        return ProductionEvent(
            type=self._config.event,
            time=time if made is None else made,
            data=data,
            at=at,
            late=moment.late,
            **({"quality": quality} | more),
        )

    @property
    def _all(self) -> list[str]:
        return [*self._refs.values(), *(one.tag for one in self._config.measurements.values())]

    # -- what the events hold --------------------------------------------------------------------------------------

    def _quality(self, read: _Read, key: Key, moment: Moment) -> dict[str, Any]:
        config = self._config
        values = {member: read.raw(ref) for member, ref in self._refs.items()}
        return {
            "test_id": config.test_id or self._name,
            "characteristic": config.characteristic,
            "value": values.get("value"),
            "uom": config.uom,
            "lsl": values.get("lsl", config.lsl),
            "usl": values.get("usl", config.usl),
            "verdict": self._verdict(values),
            "unit": {"serial": values.get("serial"), "lot": values.get("lot", moment.picture.context.lot)},
            "sample_no": values.get("sample_no", key.seq),
        }

    def _verdict(self, values: Mapping[str, Any]) -> str:
        """Return the machine's own verdict; without a value or a known code there is none."""
        code = code_of(values.get("verdict"))
        if values.get("value") is None or code is None:
            return "unknown"
        return self._config.verdicts.get(code, "unknown")

    def _unit(self, read: _Read, _: Key, moment: Moment) -> dict[str, Any]:
        return {
            "serial": self._name_of(read, "serial"),
            "lot": self._name_of(read, "lot") if "lot" in self._refs else moment.picture.context.lot,
            "result": self._result(read),
            "station": self._name_of(read, "station") or self._config.station,
            "cycle_id": self._name_of(read, "cycle_id"),
            "measurements": [
                {"name": name, "value": read.value(one.tag), "uom": one.uom, "lsl": one.lsl, "usl": one.usl}
                for name, one in self._config.measurements.items()
            ],
        }

    def _scrap(self, read: _Read, _: Key, __: Moment) -> dict[str, Any]:
        ref = self._refs["reason"]
        return {
            "qty": read.number(self._refs.get("qty")) if "qty" in self._refs else 1,
            "uom": self._config.uom or "H87",
            "reason": reason_of(code_of(read.value(ref)), self._reasons, ref),
            "station": self._name_of(read, "station") or self._config.station,
            "serial": self._name_of(read, "serial"),
        }

    def _material(self, read: _Read, _: Key, moment: Moment) -> dict[str, Any]:
        context = moment.picture.context
        return {
            "material": self._name_of(read, "material") or self._config.material,
            "lot_new": self._name_of(read, "lot"),
            "qty": read.number(self._refs.get("qty")) if "qty" in self._refs else 1,
            "uom": self._config.uom or "H87",
            "position": self._name_of(read, "position") or self._config.position or self._name,
            "into": {"order": context.order, "lot": context.lot, "serial": self._name_of(read, "serial")},
        }

    def _input(self, read: _Read, _: Key, __: Moment) -> dict[str, Any]:
        kind = self._name_of(read, "kind") or self._config.kind or self._name
        return {"kind": kind, "value": read.value(self._refs["value"]), "user": self._name_of(read, "user")}

    def _cycle(self, read: _Read, key: Key, moment: Moment) -> dict[str, Any]:
        lasted, parts = read.number(self._refs.get("duration")), read.number(self._refs.get("parts"))
        number = read.value(self._refs["cycle_no"]) if "cycle_no" in self._refs else key.seq
        return {
            "cycle_id": f"{moment.unit}/{self._name}/{key.generation}/{key.seq}",
            "cycle_no": number,
            "count": 1,
            "duration_s": None if lasted is None else round(lasted * _SECONDS[self._config.duration_unit], 9),
            "ideal_s": None,
            "parts": None if parts is None else round(parts),
            "cavities": None,
            "result": self._result(read),
            "params": {name: read.value(one.tag) for name, one in self._config.measurements.items()},
        }

    def _name_of(self, read: _Read, member: str) -> str | None:
        ref = self._refs.get(member)
        return None if ref is None else named(read.value(ref))

    def _result(self, read: _Read) -> str | None:
        """Return the result in words; a code that no table knows is told as it is."""
        ref = self._refs.get("result")
        code = None if ref is None else code_of(read.value(ref))
        return None if code is None else self._config.results.get(code, str(code))


class _Read:
    """The values of one read, in one slot of a ring."""

    def __init__(self, rows: Mapping[str, Reading], slot: str) -> None:
        self._rows, self._slot = rows, slot

    def raw(self, ref: str) -> Any:
        """Return the usable value of ``ref`` as it is, None where there is none."""
        reading = self._rows.get(ref.replace(SLOT, self._slot))
        return reading.value if reading is not None and reading.quality is not Quality.BAD else None

    def value(self, ref: str) -> Plain:
        """Return the usable value of ``ref`` as it is told."""
        reading = self._rows.get(ref.replace(SLOT, self._slot))
        return plain(reading.value) if reading is not None and usable(reading) else None

    def number(self, ref: str | None) -> int | float | None:
        """Return the usable value of ``ref`` where it is a number."""
        value = None if ref is None else self.value(ref)
        return None if isinstance(value, bool | str) else value


def _parsed(text: str) -> int | None:
    """Return an ISO 8601 text as UTC ns (without a zone: UTC), None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    whole = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (whole.days * 86_400 + whole.seconds) * NS + whole.microseconds * 1000


def kept(serials: tuple[str, ...], serial: str | None, most: int) -> tuple[str, ...]:
    """Return the serials to remember with ``serial`` as the newest, ``most`` at most."""
    return serials if serial is None or not most else (*serials, serial)[-most:]


def overrun(tag: str, since: int, until: int, least: int, most: int, moment: Moment) -> ProductionEvent:
    """Return the declaration of records that nobody read: between ``least`` and ``most`` of them."""
    since = min(since, until)
    data = {
        "reason": "handshake_overrun",
        "interval": [iso(since), iso(until)],
        "tags": [tag],
        "lost": {"min": least, "max": most},
        "recovered": {},
        "seq_from": None,
        "seq_to": None,
    }
    return ProductionEvent(type="collection.gap", time=until, data=data, late=moment.late)
