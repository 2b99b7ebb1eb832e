"""What users write under ``orders:``: where the state of a job order stands, and what its values mean."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.events.tables import Code

Stage = Literal["waiting", "running", "paused", "completed", "aborted"]


class OrderBit(BaseModel):
    """One row of ``bits:``: while ``when`` is on, the order is ``is``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: str = Field(description="device.tag of a bit")
    is_: Stage = Field(alias="is", description="what the order is while the bit is on")


class OrdersConfig(BaseModel):
    """``orders:`` of a unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: str | None = Field(default=None, description="device.tag of the order's state")
    states: dict[Code, Stage] = Field(default_factory=dict, description="what the states mean")
    bits: tuple[OrderBit, ...] = Field(default=(), description="instead of a state: the first bit that is on holds")
    otherwise: Stage = Field(default="waiting", description="what the order is while no bit is on")
    planned_qty: str | None = Field(default=None, description="device.tag of how many are to be made")
    operation: str | None = Field(default=None, description="device.tag of the operation")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.state is None) == (not self.bits):
            raise ValueError("the order's state comes either from state: device.tag with a table, or from bits")
        if self.state is not None and not self.states:
            raise ValueError("say what the states mean, as states: {2: running, 3: paused, 4: completed, 5: aborted}")
        return self

    @property
    def references(self) -> dict[str, str]:
        """The tags by their place in the entry."""
        bits = {f"bits.{place}.when": bit.when for place, bit in enumerate(self.bits)}
        named = {"state": self.state, **bits, "planned_qty": self.planned_qty, "operation": self.operation}
        return {place: ref for place, ref in named.items() if ref is not None}
