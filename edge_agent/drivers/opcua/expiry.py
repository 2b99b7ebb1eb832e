"""Certificates that will be over: told 60, 30, 7 and 1 days ahead, once each, as `DeviceFault` notices of a device that works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from edge_agent.drivers.opcua.channel import Secured
from edge_agent.model.reading import Batch, DeviceFault
from edge_agent.ports import PlantClock

STAGES: Final = (1, 7, 30, 60)
"""Days ahead."""

_LOOK: Final = 3600.0
"""Machine seconds between two looks at the calendar."""

_OURS, _THEIRS, _LIST, _NEXT = "own_cert_expires", "cert_expires", "cert_remark", "cert_next"
CODES: Final = (_OURS, _THEIRS, _LIST, _NEXT)


class Finding(NamedTuple):
    """Something about a certificate that a person should know while it still works."""

    code: str
    text: str
    remedy: str
    severity: int


def stage(ends: datetime, now: datetime) -> int | None:
    """Return within how many days it ends (of `STAGES`), 0 when it has, None while there is time."""
    left = ends - now
    return 0 if left <= timedelta(0) else next((days for days in STAGES if left <= timedelta(days=days)), None)


def findings(secured: Secured, now: datetime) -> list[Finding]:
    """Return what is to be said; the texts stay the same until a stage changes, so that each is told once."""
    _, server, keys = secured
    found = []
    if server is not None and (at := stage(server.certificate.ends, now)) is not None:
        remedy = "renew it on the server; to keep the device running meanwhile: edge-agent trust URL --next FILE with the new certificate"
        found.append(Finding(_THEIRS, f"the server's certificate {_when(server.certificate.ends, at)}", remedy, _severity(at)))
    if keys is not None and (at := stage(keys.certificate.ends, now)) is not None:
        remedy = "renew it in the agent's folder own, and let the servers trust it"
        found.append(Finding(_OURS, f"the agent's own certificate {_when(keys.certificate.ends, at)}", remedy, _severity(at)))
    if server is not None and server.remarks:
        found.append(Finding(_LIST, "; ".join(server.remarks), "get the authority's new revocation list", 300))
    if server is not None and server.why == "next":
        text = f"the server shows the next certificate (SHA-256 {server.certificate.thumbprint})"
        found.append(Finding(_NEXT, text, "edge-agent trust URL makes it the current one and forgets the old one", 100))
    return found


def _when(ends: datetime, at: int) -> str:
    return f"has expired on {ends:%Y-%m-%d}" if at == 0 else f"expires on {ends:%Y-%m-%d}, within {at} day{'s' * (at > 1)}"


def _severity(at: int) -> int:
    return 700 if at <= 7 else 400


def notices(device: str, time: int, found: Sequence[Finding]) -> tuple[DeviceFault, ...]:
    """Return the notices of one device: what is found, and that everything else is in order."""
    by_code = {each.code: each for each in found}
    return tuple(
        DeviceFault(device, time, code, False, each.text, each.remedy, each.severity)
        if (each := by_code.get(code)) is not None
        else DeviceFault(device, time, code, True)
        for code in CODES
    )


async def watch(secured: Secured, devices: Sequence[str], clock: PlantClock, put: Callable[[Batch], None]) -> None:
    """Tell at once and whenever something has changed, until cancelled."""
    told: list[Finding] | None = None
    while True:
        found = findings(secured, datetime.now(UTC))
        if found != told:
            told = found
            for device in devices:
                time = clock.now()
                put(Batch(device, time, after=notices(device, time, found)))
        await asyncio.sleep(_LOOK)
