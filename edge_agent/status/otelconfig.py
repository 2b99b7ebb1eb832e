"""What a user writes about OpenTelemetry: ``otel:`` in agent.yaml. Nothing is exported without it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.model.errors import ConfigError
from edge_agent.model.instant import NS
from edge_agent.model.quantity import Duration, duration_text

_PATH = "/v1/metrics"
"""Where a collector takes metrics (OTLP 1, OTLP/HTTP)."""

_NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_LARGEST = 65_536
_OTHERS = 0o007


class OtelConfig(BaseModel):
    """The agent's metrics, sent to an OpenTelemetry collector by OTLP over HTTP; wants the extra ``edge-agent[otel]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(
        description="https://host[:4318][/path] of the collector; /v1/metrics is put behind it where it is missing"
    )
    every: Duration = Field(30 * NS, description="how often the figures are sent, in machine time; 1s to 1h")
    headers_file: Path | None = Field(
        None, description="file with headers for the collector, one a line as `Name: value` (a token); readable by the agent alone"
    )
    ca: Path | None = Field(None, description="CA that signed the collector's certificate; default: the public ones (certifi)")
    allow_insecure: bool = Field(False, description="true: plain http:// without encryption is accepted")

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str) -> str:
        try:
            parts = urlsplit(endpoint)
            fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine or parts.query or parts.fragment:
            raise ValueError(f"{endpoint!r} is no address of a collector; write it like https://collector.plant.example:4318")
        if parts.username is not None:
            raise ValueError("who the agent is does not belong into the address; write a header into headers_file")
        return endpoint

    @field_validator("every")
    @classmethod
    def _a_time_that_works(cls, ns: int) -> int:
        if not NS <= ns <= 3600 * NS:
            raise ValueError(f"{duration_text(ns)} is outside 1s to 1h")
        return ns

    @model_validator(mode="after")
    def _is_secure(self) -> Self:
        if not self._encrypted and not self.allow_insecure:
            raise ValueError(
                "plain http:// sends figures and headers readable and unprotected; write https://, or accept it by allow_insecure: true"
            )
        if not self._encrypted and self.ca is not None:
            raise ValueError("ca is set but the address says http://; write https://")
        return self

    @property
    def _encrypted(self) -> bool:
        return urlsplit(self.endpoint).scheme == "https"

    @property
    def url(self) -> str:
        """Where metrics are sent to."""
        bare = self.endpoint.rstrip("/")
        return bare if bare.endswith(_PATH) else bare + _PATH

    @property
    def caution(self) -> str | None:
        """What is risky about it, in words; None where it is encrypted."""
        if self._encrypted:
            return None
        return f"otel: {self.endpoint} is plain HTTP: whoever is on the way can read the figures{' and the headers' * (self.headers_file is not None)}"


def require_extra() -> None:
    """Raise ConfigError where the packages of the extra are not installed."""
    for name in _NEEDED:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:  # a package above it is not there either
            found = None
        if found is None:
            raise ConfigError(
                f"otel: the metrics cannot be exported, because {name} is not installed; pip install edge-agent[otel] (in the agent's own "
                "environment), or remove otel: from agent.yaml"
            )


def read_headers(file: Path | None) -> dict[str, str]:
    """Return the headers in ``file``; raises ConfigError when it cannot be used or others can read it. No value is told."""
    if file is None:
        return {}
    try:
        if file.stat().st_mode & _OTHERS:
            raise ConfigError(f"headers_file {file} can be read by everybody; chmod 600 {file}")
        with file.open(encoding="utf-8") as stream:
            lines = stream.read(_LARGEST).splitlines()
    except OSError as error:
        raise ConfigError(f"headers_file {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"headers_file {file} is no text in UTF-8") from error
    headers = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not colon or not name.replace("-", "").isalnum() or not value.isprintable() or not value.isascii():
            raise ConfigError(f"headers_file {file}: line {number} is no header; write it as `Name: value`")
        headers[name] = value
    return headers
