"""The file format of recordings: JSON lines, the first of which is the header; gzip where the name ends with ``.gz``.

A line is what an agent was handed, in the order in which it was: a batch of a device (``d``), time that passed without data (``tick``), or an absence of
the agent itself (``away``). Values are as they were on the wire, before scaling, and tags go by their names: so a recording can be derived with
another configuration. Instants are UTC ns. What JSON cannot say is written as an object with one member: ``{"float": "nan"}``, ``{"hex": ...}``,
``{"list": [...]}``, ``{"condition": {...}}``, ``{"refresh": [...]}``.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import IO, Any

import msgspec

from edge_agent.events.derive import Tick
from edge_agent.model.condition import Condition, Refresh
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.reading import AgentDown, Batch, Notice, Snapshot, Value

FORMAT = 1
"""The version of the format; a reader refuses a newer one."""

Given = Batch | Tick | AgentDown
"""What an agent is handed, apart from its own absence (`AgentDown`)."""

_ENCODER = msgspec.json.Encoder()


class RecordingError(EdgeAgentError):
    """The file is no recording, or is damaged; the text names the file, its line and what to do."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first line. ``devices`` are the tags' names by device; ``line`` is the configuration itself where the recording carries it.

    With a ``line`` the values are scaled already, as its tags say.
    """

    edge_agent_recording: int
    devices: dict[str, tuple[str, ...]]
    agent: str = ""
    version: str = ""
    cfg: str = ""
    started: str = ""
    about: str = ""
    line: dict[str, Any] = msgspec.field(default_factory=dict)


class _BatchLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A batch: ``r`` are rows (tag, value, quality, source, server, and why it is not good); ``s`` are snapshots (group, start, stop)."""

    d: str
    at: int
    r: list[list[Any]] = msgspec.field(default_factory=list)
    s: list[tuple[str, int, int]] = msgspec.field(default_factory=list)
    before: list[Notice] = msgspec.field(default_factory=list)
    after: list[Notice] = msgspec.field(default_factory=list)
    asked: int = 0
    historical: bool = False


class _TickLine(msgspec.Struct, frozen=True, omit_defaults=True):
    tick: int
    final: bool = False


class _AwayLine(msgspec.Struct, frozen=True):
    away: tuple[int, int]


class Writer:
    """Writes one recording to an open file; counts lines and the bytes before compression."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        """Write ``header`` at once."""
        self._file, self._names = file, header.devices
        self.bytes = self.lines = 0
        self._put(header)

    def put(self, given: Given) -> None:
        """Write one line."""
        if isinstance(given, Tick):
            self._put(_TickLine(given.time, given.final))
        elif isinstance(given, AgentDown):
            self._put(_AwayLine((given.since, given.until)))
        else:
            self._put(_line(given, self._names[given.device]))

    def _put(self, line: msgspec.Struct) -> None:
        text = _ENCODER.encode(line) + b"\n"
        self._file.write(text)
        self.bytes += len(text)
        self.lines += 1


class Recording:
    """A recording on disk. Raises RecordingError at its first line that cannot be understood; iterating yields what was given."""

    def __init__(self, file: Path) -> None:
        """Read the header only."""
        self.file = file
        self.header = self._header()

    def __iter__(self) -> Iterator[Given]:
        """Yield every line after the header, oldest first; batches index the tags of ``header.devices``."""
        places = {device: {name: place for place, name in enumerate(names)} for device, names in self.header.devices.items()}
        with _opened(self.file) as lines:
            for number, text in enumerate(_readable(lines, self.file), 1):
                if number == 1 or not text.strip():
                    continue
                try:
                    yield _given(text, places)
                except (msgspec.MsgspecError, KeyError, ValueError, TypeError) as error:
                    raise RecordingError(f"{self.file}:{number}: this line is damaged ({error}); cut the file before it") from error

    def _header(self) -> Header:
        with _opened(self.file) as lines:
            first = next(_readable(lines, self.file), b"")
        try:
            header = msgspec.json.decode(first, type=Header)
        except msgspec.MsgspecError as error:
            raise RecordingError(f"{self.file} is no recording ({error}); make one with `edge-agent record`") from error
        if header.edge_agent_recording > FORMAT:
            raise RecordingError(
                f"{self.file} has format {header.edge_agent_recording}, this edge-agent reads up to {FORMAT}; update it"
            )
        return header


def _opened(file: Path) -> IO[bytes]:
    try:
        return gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]  # both read bytes
    except OSError as error:
        raise RecordingError(f"{file}: {error.strerror}; check the path") from error


def _readable(lines: IO[bytes], file: Path) -> Iterator[bytes]:
    """Yield whole lines: of the one that a killed recorder was writing nothing is taken, everything before it is good."""
    try:
        for line in lines:
            if line.endswith(b"\n"):
                yield line
    except EOFError:
        return
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read ({error})") from error


# -- one line ----------------------------------------------------------------------------------------------------


def _line(batch: Batch, names: Sequence[str]) -> _BatchLine:
    rows: list[list[Any]] = []
    for row, tag in enumerate(batch.tags):
        cells = [names[tag], _plain(batch.values[row]), batch.quality[row], batch.source[row], batch.server[row]]
        if row in batch.details:
            cells.append(batch.details[row])
        while len(cells) > 2 and cells[-1] == 0:
            cells.pop()
        rows.append(cells)
    return _BatchLine(
        batch.device,
        batch.received,
        rows,
        [(one.group, one.start, one.stop) for one in batch.snapshots],
        list(batch.before),
        list(batch.after),
        batch.asked,
        batch.historical,
    )


def _given(text: bytes, places: Mapping[str, Mapping[str, int]]) -> Given:
    kind = msgspec.json.decode(text)
    if "tick" in kind:
        tick = msgspec.convert(kind, _TickLine)
        return Tick(tick.tick, tick.final)
    if "away" in kind:
        return AgentDown(*msgspec.convert(kind, _AwayLine).away)
    line = msgspec.convert(kind, _BatchLine)
    rows = [[*row, *([0] * (5 - len(row)))] for row in line.r]
    known = places[line.d]
    return Batch(
        line.d,
        line.at,
        [known[row[0]] for row in rows],
        [_value(row[1]) for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [row[4] for row in rows],
        {place: row[5] for place, row in enumerate(rows) if len(row) > 5},
        tuple(Snapshot(*one) for one in line.s),
        tuple(line.before),
        tuple(line.after),
        line.asked,
        line.historical,
    )


def _plain(value: Value | None) -> Any:
    """Return a value as JSON keeps it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else {"float": str(value)}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, Condition):
        return {
            "condition": {name: one for name, one in value._asdict().items() if one != Condition._field_defaults.get(name, ...)}
        }
    if isinstance(value, Refresh):
        return {"refresh": list(value)}
    return {"list": [_plain(one) for one in value]}  # type: ignore[arg-type]  # elements of an array are values


def _value(plain: Any) -> Value | None:
    if not isinstance(plain, dict):
        return plain  # type: ignore[no-any-return]  # JSON's scalars are values
    ((kind, content),) = plain.items()
    match kind:
        case "float":
            return float(content)
        case "hex":
            return bytes.fromhex(content)
        case "condition":
            return Condition(**content)
        case "refresh":
            return Refresh(*content)
        case "list":
            return tuple(_value(one) for one in content)
    raise ValueError(f"unknown kind of value {kind!r}")
