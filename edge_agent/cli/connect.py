"""``edge-agent check --connect``: every configured device is asked whether it is as the configuration says. Reads only, and leaves no session."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final

from edge_agent import logs
from edge_agent.agent.clock import WallClock
from edge_agent.cli.owner import as_owner
from edge_agent.cli.progress import Progress
from edge_agent.cli.words import lasted, many, plain, table
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers import catalog
from edge_agent.drivers.catalog import DeviceConfig
from edge_agent.model.errors import ConfigError
from edge_agent.model.inspection import Finding, Inspection

_PATIENCE: Final = 30.0
"""Machine seconds until a look is broken off, and how many tags a second a slow server gives."""
_PER_SECOND: Final = 200
_ABREAST: Final = 16
"""Endpoints that are looked at at once."""
_SIGN: Final = {"error": "ERROR", "warning": "warning", "note": "note"}


def inspect(config: AgentConfig) -> list[Inspection]:
    """Return what is found of each device, in the order of the configuration. Raises ConfigError."""
    logs.configure("error")
    with as_owner(config.identity.folder):
        return asyncio.run(_inspect(config))


async def _inspect(config: AgentConfig) -> list[Inspection]:
    groups: dict[Hashable, list[DeviceConfig]] = {}
    for device in config.devices:
        groups.setdefault(catalog.link(device), []).append(device)
    found = {device.device: Inspection(device.device, catalog.endpoint(device)) for device in config.devices}
    turn, progress = asyncio.Semaphore(_ABREAST), Progress()

    async def look(devices: Sequence[DeviceConfig]) -> None:
        async with turn:
            await _bounded(devices, config, found)

    tasks = [asyncio.ensure_future(look(group)) for group in groups.values()]
    try:
        while tasks and (await asyncio.wait(tasks, timeout=0.5))[1]:
            done = sum(task.done() for task in tasks)
            progress(f"{done} of {len(tasks)} endpoints looked at")
    finally:
        progress.done()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        task.result()
    return list(found.values())


async def _bounded(devices: Sequence[DeviceConfig], config: AgentConfig, found: dict[str, Inspection]) -> None:
    """Look at one endpoint; whatever goes wrong is a finding of its devices."""
    patience = _PATIENCE + sum(len(device.tags) for device in devices) / _PER_SECOND
    try:
        async with asyncio.timeout(patience):
            await catalog.inspect(devices, WallClock(), config.identity, found)
    except TimeoutError:
        _say(devices, found, "broken_off", f"not everything could be looked at within {patience:.0f} s")
    except ConfigError as error:
        _say(devices, found, "configuration", str(error))
    except Exception as error:  # noqa: BLE001 - the person at the terminal is told, and the other devices are looked at
        _say(devices, found, "not_understood", f"the look failed: {error!r}")


def _say(devices: Sequence[DeviceConfig], found: dict[str, Inspection], code: str, text: str) -> None:
    for device in devices:
        found[device.device].say("error", code, text)


# -- for people and programs -----------------------------------------------------------------------------------------


def document(one: Inspection) -> dict[str, Any]:
    """Return an inspection as JSON-able data."""
    return {
        "device": one.device,
        "endpoint": one.endpoint,
        "ok": one.ok,
        "answered": one.answered,
        "facts": one.facts,
        "findings": [
            {"grade": each.grade, "code": each.code, "tag": each.tag, "text": each.text, "remedy": each.remedy}
            for each in one.findings
        ],
    }


def show(found: Sequence[Inspection]) -> None:
    """Print one line for each device, and below them everything that is not as configured."""
    if not found:
        return
    head = ("device", "address", "tags", "clock", "sessions", "publishing", "trust until", "result")
    for line in table(head, [_cells(one) for one in found]):
        print(plain(line))
    told = [(one, finding) for one in found for finding in sorted(one.findings, key=_rank)]
    if told:
        print()
    width = max((len(_where(one, finding)) for one, finding in told), default=0)
    for one, finding in told:
        print(plain(f"{_SIGN[finding.grade]:<8} {_where(one, finding):<{width}}  {finding.text}"))
        if finding.remedy:
            print(plain(f"{'':<8} {'':<{width}}  -> {finding.remedy}"))
    sys.stdout.flush()


def _where(one: Inspection, finding: Finding) -> str:
    return one.device if finding.tag is None else f"{one.device}.{finding.tag}"


def _rank(finding: Finding) -> int:
    return tuple(_SIGN).index(finding.grade)


def _cells(one: Inspection) -> tuple[str, ...]:
    facts = one.facts
    tags, sessions, publishing = facts.get("tags"), facts.get("sessions"), facts.get("publishing_ms")
    return (
        one.device,
        one.endpoint,
        f"{tags['found']}/{tags['configured']}" if tags else "-",
        _clock(facts.get("clock_offset_s")),
        _of(sessions["now"], sessions["most"]) if sessions else "-",
        _publishing(publishing),
        (facts.get("security") or {}).get("server_valid_until", "-"),
        _result(one),
    )


def _clock(offset: float | None) -> str:
    if offset is None:
        return "-"
    return f"{offset:+.3f} s" if abs(offset) < 10 else f"{'+' if offset > 0 else '-'}{lasted(abs(offset))}"


def _of(now: int | None, most: int | None) -> str:
    return "-" if most is None and now is None else f"{'?' if now is None else now} of {'?' if most is None else most}"


def _publishing(publishing: dict[str, float | None] | None) -> str:
    if publishing is None:
        return "-"
    asked, given = publishing["asked"], publishing["given"]
    return "polled" if given is None else f"{given:g} ms" if given == asked else f"{asked:g} -> {given:g} ms"


def _result(one: Inspection) -> str:
    parts = list(_counts(one))
    return ", ".join(parts) if parts else "as configured"


def _counts(one: Inspection) -> Iterator[str]:
    for grade, noun in (("error", "error"), ("warning", "warning")):
        if count := sum(finding.grade == grade for finding in one.findings):
            yield many(count, noun)
