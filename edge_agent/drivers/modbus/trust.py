"""What a user writes about a device that may be away, doubled, or exchanged: backup addresses, and how the right one is recognised."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from edge_agent.drivers.modbus.kinds import Period, Whole
from edge_agent.drivers.modbus.tag import ModbusTag
from edge_agent.model.hostname import host_name
from edge_agent.model.instant import NS

Host = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True, pattern=r"^[^\s/]+$"), AfterValidator(host_name)]


class Backup(BaseModel):
    """Another address of the same device: a redundant gateway, or its second interface."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Host = Field(description="name or IP address")
    port: Annotated[Whole, Field(ge=1, le=65_535)] | None = Field(None, description="default: as for host")
    unit_id: Annotated[Whole, Field(ge=0, le=255)] | None = Field(None, description="default: the device's own unit_id")


class Identity(BaseModel):
    """How the right device is recognised: by a register, by its device identification (function 43/14), or both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    register_: ModbusTag | None = Field(
        None,
        alias="register",
        description="where the device says who it is, written like a tag: {ref: 40100, type: string, length: 8}",
    )
    equals: bool | int | float | str | tuple[bool | int | float | str, ...] | None = Field(
        None, description="what that register holds in the right device; a list where a spare is right, too"
    )
    objects: dict[Annotated[Whole, Field(ge=0, le=255)], str] = Field(
        default_factory=dict,
        description="device identification (function 43/14): object number and its text, {0: vendor, 1: product code}",
    )
    every: Period = Field(60 * NS, description="how often it is checked while the device answers (machine time)")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.register_ is None) != (self.equals is None):
            raise ValueError("register and equals belong together; write register: {ref: 40100} and equals: 4711")
        if self.register_ is None and not self.objects:
            raise ValueError("nothing says who is right; write register and equals, or objects: {1: product code}")
        return self

    @property
    def right(self) -> tuple[bool | int | float | str, ...]:
        """The values that the register may hold."""
        if self.equals is None:
            return ()
        return self.equals if isinstance(self.equals, tuple) else (self.equals,)
