"""The drivers there are: one union member and one case each. A driver's library is imported only where a device needs it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, assert_never

from pydantic import Field

from edge_agent.drivers.modbus import config as modbus
from edge_agent.drivers.modbus import connection, rawwords
from edge_agent.drivers.modbus.columns import COLUMNS
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.opcua import config as opcua
from edge_agent.drivers.opcua import policy, tagconfig
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.model.inspection import Inspection
from edge_agent.model.reading import Tag, Value
from edge_agent.ports import DeviceWiring, Driver, Identity, PlantClock

DeviceConfig = Annotated[ModbusConfig | OpcUaConfig, Field(discriminator="driver")]
"""What one file of ``devices/`` holds."""


def columns_of(driver: object) -> dict[str, str] | None:
    """Return what a row of a tag list may say for this driver, and how each column reads; None where ``tags_from`` is no list of rows."""
    return COLUMNS if driver == "modbus" else None


def tags_of(config: ModbusConfig | OpcUaConfig) -> tuple[Tag, ...]:
    """Return the tags of a device in configuration order: what ``Batch.tags`` indexes."""
    match config:
        case ModbusConfig():
            return modbus.tags_of(config)
        case OpcUaConfig():
            return opcua.tags_of(config)
        case _:
            assert_never(config)


def unscaled(config: ModbusConfig | OpcUaConfig) -> ModbusConfig | OpcUaConfig:
    """Return the device with its tags as they are on the wire."""
    match config:
        case ModbusConfig():
            return modbus.unscaled(config)
        case OpcUaConfig():
            return opcua.unscaled(config)
        case _:
            assert_never(config)


def with_words(config: ModbusConfig | OpcUaConfig) -> tuple[ModbusConfig | OpcUaConfig, dict[int, tuple[int, ...]]]:
    """Return the device with the registers of its tags as tags behind them, and which are whose, by index; where there are none, itself."""
    match config:
        case ModbusConfig():
            return rawwords.with_words(config)
        case OpcUaConfig():
            return config, {}
        case _:
            assert_never(config)


def scalings(config: ModbusConfig | OpcUaConfig) -> list[Callable[[Value], Value | None]]:
    """Return for each tag, in configuration order, what makes its value of what `unscaled` reads."""
    match config:
        case ModbusConfig():
            return [*modbus.scalings(config)]
        case OpcUaConfig():
            return [*(tagconfig.scaling(tag) for tag in config.tags.values()), *((lambda raw: raw) for _ in config.alarms)]
        case _:
            assert_never(config)


def endpoint(config: ModbusConfig | OpcUaConfig) -> str:
    """Return what a connection is made to."""
    match config:
        case ModbusConfig():
            return connection.endpoint(config)
        case OpcUaConfig():
            return opcua.endpoint(config)
        case _:
            assert_never(config)


def link(config: ModbusConfig | OpcUaConfig) -> Hashable:
    """Return what devices must have in common to share one connection: the endpoint, and how it is secured."""
    match config:
        case ModbusConfig():
            return connection.link(config, config.device)
        case OpcUaConfig():
            return opcua.link(config)
        case _:
            assert_never(config)


def polls(config: ModbusConfig | OpcUaConfig) -> bool:
    """Return whether the tags of a device are polled, so that a poll can be added."""
    return isinstance(config, ModbusConfig)


def clashes(configs: Sequence[ModbusConfig | OpcUaConfig]) -> list[tuple[int, str]]:
    """Return for each device that cannot share the way to another one its place in ``configs`` and why, with the remedy behind a semicolon."""
    return connection.clashes(
        [(at, config.device, config) for at, config in enumerate(configs) if isinstance(config, ModbusConfig)]
    )


def overloads(configs: Sequence[ModbusConfig | OpcUaConfig]) -> list[tuple[int, str]]:
    """Return for each connection whose poll periods cannot hold the place of its first device in ``configs`` and why, with the remedy."""
    from edge_agent.drivers.modbus import load  # noqa: PLC0415 - only who checks wants it

    return load.overloads([(at, config) for at, config in enumerate(configs) if isinstance(config, ModbusConfig)])


def cautions(config: ModbusConfig | OpcUaConfig) -> tuple[str, ...]:
    """Return what is allowed about a device and risky, each as one sentence with its remedy behind a semicolon."""
    match config:
        case ModbusConfig():
            return connection.cautions(config, config.device)  # plain Modbus has no security that could be left out
        case OpcUaConfig():
            return policy.cautions(config)
        case _:
            assert_never(config)


def certificates(config: ModbusConfig | OpcUaConfig, identity: Identity) -> dict[str, Path]:
    """Return the certificate files that a device's connection rests on, by what they are for; they need not exist."""
    name = f"device {config.device}"
    match config:
        case ModbusConfig():
            files = {} if config.tls is None else {f"{name} own": config.tls.cert, f"{name} ca": config.tls.ca}
            return {which: file for which, file in files.items() if isinstance(file, Path)}
        case OpcUaConfig():
            if config.allow_insecure:
                return {}
            from edge_agent.drivers.opcua import pins  # noqa: PLC0415 - cryptography only where it is used

            found = {"opcua own": identity.folder / "own" / "certificate.pem"}
            found[name] = pins.place(identity.folder, config.url) / "current.der"
            return found | ({} if config.user_certificate is None else {f"{name} user": config.user_certificate})
        case _:
            assert_never(config)


def connect(
    configs: Sequence[ModbusConfig | OpcUaConfig], clock: PlantClock, wiring: Mapping[str, DeviceWiring], identity: Identity
) -> AbstractAsyncContextManager[Driver]:
    """Open one endpoint with all devices behind it; ``configs`` have equal links. ``identity`` is who the agent is where a device asks.

    Entering raises DisconnectedError when nobody answers, ConfigError when the wiring asks for what the devices cannot do.
    """
    match configs[0]:
        case ModbusConfig():
            from edge_agent.drivers.modbus.driver import connect as connect_modbus  # noqa: PLC0415 - pymodbus only with such a device

            return connect_modbus([config for config in configs if isinstance(config, ModbusConfig)], clock, wiring)
        case OpcUaConfig():
            from edge_agent.drivers.opcua.driver import connect as connect_opcua  # noqa: PLC0415 - asyncua costs 90 MB

            return connect_opcua(
                [config for config in configs if isinstance(config, OpcUaConfig)], clock, wiring, identity=identity
            )
        case _:
            assert_never(configs[0])


async def inspect(
    configs: Sequence[ModbusConfig | OpcUaConfig], clock: PlantClock, identity: Identity, found: Mapping[str, Inspection]
) -> None:
    """Look at the devices of one endpoint, read-only, and note in ``found`` (by device) what is not as configured; ``configs`` have equal links.

    A device that is away is a finding. Raises ConfigError when it cannot even be asked.
    """
    match configs[0]:
        case ModbusConfig():
            from edge_agent.drivers.modbus.drift import inspect as inspect_modbus  # noqa: PLC0415 - as in `connect`

            await inspect_modbus([config for config in configs if isinstance(config, ModbusConfig)], clock, found)
        case OpcUaConfig():
            from edge_agent.drivers.opcua.drift import inspect as inspect_opcua  # noqa: PLC0415 - as in `connect`

            await inspect_opcua([config for config in configs if isinstance(config, OpcUaConfig)], clock, identity, found)
        case _:
            assert_never(configs[0])
