"""What the retained topic ``_agent/ID/status`` says: enough for a central monitor to know of every gateway that data stop, why, and what will stop them soon.

Its size is bounded, whatever the devices have to say: see `packed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

LARGEST: Final = 32_768
"""Bytes of a status at most: some brokers take no more than 128 KiB, and every subscriber to all agents gets all of them."""

_ERROR, _FAULTS, _DEVICES = 200, 50, 100
"""Characters of an error, entries of faults, and devices where not all fit."""

Word = Literal["online", "offline"]


class DeviceStatus(msgspec.Struct, frozen=True):
    """One device."""

    up: Annotated[bool, Meta(description="whether it answers")]
    ready: Annotated[bool, Meta(description="whether a reading of it has come since the start")]
    error: Annotated[str | None, Meta(description="why it does not answer, in words; shortened to 200 characters")] = None
    fault: Annotated[
        str | None, Meta(description="the code of what it stands still for, `device_down` where that is all that is known")
    ] = None
    faults: Annotated[Sequence[str], Meta(description="codes of what it works with and wants a person all the same")] = ()
    last_good: Annotated[str | None, Meta(description="when its newest good sample was taken")] = None
    tags_bad: Annotated[int, Meta(description="tags whose newest sample is bad")] = 0
    clock_offset_ms: Annotated[float | None, Meta(description="its clock minus the gateway's, when last measured")] = None


class FaultStatus(msgspec.Struct, frozen=True):
    """One fault that is raised now."""

    code: Annotated[str, Meta(description="see the page of fault codes")]
    about: Annotated[str, Meta(description="of what: a device, a unit, the buffer")]
    level: Annotated[
        Literal["warning", "critical"], Meta(description="critical: data are being lost or soon will be; else somebody is wanted")
    ]


class BufferStatus(msgspec.Struct, frozen=True):
    """What waits for delivery, and where."""

    waiting: Annotated[int, Meta(description="records that wait for delivery")]
    oldest: Annotated[str | None, Meta(description="time of the oldest of them")]
    oldest_age_s: Annotated[float | None, Meta(description="its age when this was published")]
    bytes: Annotated[int, Meta(description="bytes of the store")]
    dropped: Annotated[int, Meta(description="undelivered records dropped for want of room since the start")]
    disk_free: Annotated[int | None, Meta(description="bytes left on its file system")] = None
    disk_size: Annotated[int | None, Meta(description="bytes of its file system")] = None


class ClockStatus(msgspec.Struct, frozen=True):
    """The gateway's clock, as the kernel knows it."""

    state: Annotated[
        Literal["synced", "unsynced", "holdover"],
        Meta(description="unsynced: never was synchronised; holdover: was, and drifts now"),
    ]
    offset_ms: Annotated[float | None, Meta(description="what is still to be corrected")] = None
    error_ms: Annotated[float | None, Meta(description="the greatest error that the kernel expects")] = None


class LastWill(msgspec.Struct, frozen=True):
    """What the broker says in the agent's place when its connection has died."""

    status: Annotated[Literal["offline"], Meta(description="the connection died")]
    agent: Annotated[str, Meta(description="id of the gateway")]
    session: Annotated[str, Meta(description="the run of the agent that has died")]
    version: Annotated[str, Meta(description="version of the program")]
    cfg: Annotated[str, Meta(description="hash of the configuration of devices and units")]
    connected_at: Annotated[str, Meta(description="when the connection was made; nobody knows here when it died")]


class AgentStatus(msgspec.Struct, frozen=True):
    """The status of an agent while it is connected, and its farewell."""

    status: Annotated[Word, Meta(description="offline: it has stopped, or its connection died (the last will)")]
    agent: Annotated[str, Meta(description="id of the gateway")]
    session: Annotated[str, Meta(description="names this run of the agent; the same in the last will")]
    version: Annotated[str, Meta(description="version of the program")]
    cfg: Annotated[str, Meta(description="hash of the configuration of devices and units, as in every event")]
    time: Annotated[str, Meta(description="when this was written; an agent that is online says it again every 10 s")]
    epoch: Annotated[str | None, Meta(description="of the store")]
    health: Annotated[
        Literal["ok", "degraded", "critical"],
        Meta(description="degraded: a device or unit is missing, or records were dropped; critical: the store is out of order"),
    ]
    store: Annotated[str, Meta(description="ok, or what is wrong with it")]
    ready: Annotated[bool, Meta(description="whether every device has delivered since the start")]
    devices: dict[str, DeviceStatus]
    units: Annotated[dict[str, str], Meta(description="`ok`, or `quarantined`")]
    faults: Annotated[Sequence[FaultStatus], Meta(description="what is raised now, critical ones first, 50 at most")] = ()
    buffer: BufferStatus | None = None
    clock: ClockStatus | None = None
    certificates: Annotated[
        dict[str, int], Meta(description="whole days that each certificate is still valid; below 0: it is over")
    ] = {}
    left_out: Annotated[int, Meta(description="devices that are in order and did not fit in here")] = 0


def shortened(error: str | None) -> str | None:
    """Return an error as it stands in a status."""
    return error if error is None or len(error) <= _ERROR else f"{error[: _ERROR - 1]}…"


def packed(status: AgentStatus, most: int = LARGEST) -> bytes:
    """Return the JSON of a status, at most ``most`` bytes of it for up to a hundred devices that are in trouble.

    Where all does not fit, errors go first (the codes stay), then devices that are in order.
    """
    status = msgspec.structs.replace(status, faults=sorted(status.faults, key=lambda fault: fault.level)[:_FAULTS])
    encoded = msgspec.json.encode(status)
    if len(encoded) <= most:
        return encoded
    wordless = {name: msgspec.structs.replace(device, error=None) for name, device in status.devices.items()}
    encoded = msgspec.json.encode(msgspec.structs.replace(status, devices=wordless))
    if len(encoded) <= most:
        return encoded
    kept = dict(sorted(wordless.items(), key=lambda item: _in_order(item[1]))[:_DEVICES])
    return msgspec.json.encode(msgspec.structs.replace(status, devices=kept, left_out=len(wordless) - len(kept)))


def _in_order(device: DeviceStatus) -> bool:
    return device.up and device.ready and not device.fault and not device.faults


def lasting(status: AgentStatus) -> AgentStatus:
    """Return a status without what changes by itself: what is left is worth telling at once when it is not what was told last."""
    devices = {
        name: msgspec.structs.replace(device, last_good=None, tags_bad=min(device.tags_bad, 1), clock_offset_ms=None)
        for name, device in status.devices.items()
    }
    clock = None if status.clock is None else ClockStatus(status.clock.state)
    return msgspec.structs.replace(status, time="", devices=devices, buffer=None, clock=clock)


def schemas(place: str) -> tuple[Mapping[str, object], Mapping[str, dict[str, object]]]:
    """Return the JSON Schema (2020-12) of what stands on the topic, and what it refers to by name; ``place`` says where that stands: ``#/$defs``."""
    refs, made = msgspec.json.schema_components((AgentStatus, LastWill), ref_template=f"{place}/{{name}}")
    return {"anyOf": [*refs]}, made


def schema() -> Mapping[str, object]:
    """Return the JSON Schema of the status in one document."""
    root, made = schemas("#/$defs")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "agent status", **root, "$defs": made}
