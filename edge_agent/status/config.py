"""What a user writes about the status page: ``web:`` in agent.yaml. Nothing listens without it."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_LISTEN = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):)?([0-9]{1,5})")
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


class WebConfig(BaseModel):
    """The status page and its read-only API over HTTP, for people and monitoring on this machine, or with a token for others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = Field(
        "127.0.0.1:8470", description="ADDRESS:PORT; 127.0.0.1 and [::1] are for this machine only, 0.0.0.0 is every interface"
    )
    token_file: Path | None = Field(
        None,
        description="file whose content is the token that whoever asks must show (16 characters or more); readable by the agent alone",
    )
    names: tuple[str, ...] = Field(
        (), description="host names under which the page is asked for, besides this machine's own; any other name is refused"
    )

    @field_validator("listen", mode="before")
    @classmethod
    def _port_alone(cls, value: object) -> object:
        return str(value) if type(value) is int else value

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        if not _is_address(listen):
            raise ValueError(f"{listen!r} is no address to listen on; write ADDRESS:PORT, like 127.0.0.1:8470 or 10.0.0.5:8470")
        return listen

    @field_validator("names")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name; write it without http:// and port, like gw-l3.plant.example")
        return tuple(name.lower() for name in names)

    @model_validator(mode="after")
    def _others_need_a_token(self) -> Self:
        if not self.address.is_loopback and self.token_file is None:
            raise ValueError(
                f"{self.listen} can be reached from other machines, and nobody would be asked who they are; add token_file: FILE with a "
                "token of 16 characters or more, or listen on 127.0.0.1"
            )
        return self

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The address to bind."""
        host = self.listen.rpartition(":")[0].strip("[]")
        return ip_address("127.0.0.1" if host in {"", "localhost"} else host)

    @property
    def port(self) -> int:
        """The port to bind; 0 is any free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def caution(self) -> str | None:
        """What is risky about it, in words; None on the loopback interface."""
        if self.address.is_loopback:
            return None
        return f"web: {self.listen} is plain HTTP: whoever is on the way can read the page and its token; put a TLS proxy before it, or use ssh -L"


def _is_address(listen: str) -> bool:
    found = _LISTEN.fullmatch(listen)
    if found is None or int(found[2]) > 65_535:
        return False
    try:
        ip_address("127.0.0.1" if found[1] in {None, "localhost"} else found[1].strip("[]"))
    except ValueError:
        return False
    return True
