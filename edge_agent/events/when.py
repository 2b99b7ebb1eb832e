"""Conditions on one tag: what counts as true of a sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from edge_agent.model.reading import Value


class When(BaseModel):
    """A tag and what is asked of it: true or not 0 where nothing else is said. ``plc1.run`` alone is short for ``{tag: plc1.run}``."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    tag: str = Field(description="device.tag")
    bit: int | None = Field(default=None, ge=0, le=63, description="of a word: the number of the bit, 0 = the lowest")
    above: float | None = Field(default=None, description="true while the value is greater")
    below: float | None = Field(default=None, description="true while the value is less")
    equals: bool | int | float | str | None = Field(default=None, description="true while the value is this one")
    negate: bool = Field(default=False, alias="not", description="true while the rest is not")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        asked = [name for name in ("bit", "equals") if getattr(self, name) is not None]
        if self.above is not None or self.below is not None:
            asked.append("above and below")
        if len(asked) > 1:
            raise ValueError(f"{' and '.join(asked)} cannot be asked together; write one of them")
        return self

    def holds(self, value: Value | None) -> bool | None:
        """Whether it is true of ``value``; None where the value is of a kind that cannot answer."""
        answer = self._asked(value)
        return answer if answer is None else answer is not self.negate

    def _asked(self, value: Value | None) -> bool | None:
        if value is None or isinstance(value, bytes | tuple):
            return None
        if self.bit is not None:
            return bool(value >> self.bit & 1) if isinstance(value, int) else None
        if self.above is not None or self.below is not None:
            if isinstance(value, str) or value != value:  # noqa: PLR0124 - what NaN is
                return None
            return (self.above is None or value > self.above) and (self.below is None or value < self.below)
        if self.equals is not None:
            return _same(value, self.equals)
        return None if isinstance(value, str) else bool(value)


def _same(value: Value, wanted: bool | float | str) -> bool:
    """Numbers and booleans by value, texts without regard to case."""
    if isinstance(value, str) or isinstance(wanted, str):
        return str(value).casefold() == str(wanted).casefold()
    return value == wanted


def _tag_alone(value: object) -> object:
    return {"tag": value} if isinstance(value, str) else value


Condition = Annotated[When, BeforeValidator(_tag_alone)]
"""A condition in a configuration: ``device.tag`` alone, or with what is asked of it."""


def tags_in(conditions: Iterable[When]) -> tuple[str, ...]:
    """Return the tags of ``conditions``, each once, in order."""
    return tuple(dict.fromkeys(condition.tag for condition in conditions))
