"""``edge-agent record`` and ``edge-agent simulate``: what a line said, kept in a file and derived again without it."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import gzip
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from edge_agent import logs
from edge_agent.agent.clock import plant_clock
from edge_agent.cli.options import DEFAULT_CONFIG
from edge_agent.cli.owner import as_owner
from edge_agent.cli.progress import Progress
from edge_agent.cli.words import many, plain
from edge_agent.config.load import load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.model.instant import NS
from edge_agent.model.quantity import duration
from edge_agent.model.reading import Batch
from edge_agent.replay.derive import Places, derive
from edge_agent.replay.line import Line, line_in, line_of
from edge_agent.replay.record import Recorder, header_of
from edge_agent.replay.recording import Given, Recording, Writer

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(kB|MB|GB)$")
_SIZES = {"kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_PACKED = 8
"""A compressed recording may have so many times the bytes of its limit before compression: polled values repeat themselves."""

_FLUSH = 5.0
"""Machine seconds after which what was recorded is in the file, whatever happens to the recorder."""

_TELL = 500
"""Readings between two looks whether it is time to say how far a recording is."""

_MOST_DIFFERENCES = 200
"""Lines of a difference that are shown."""


def record(file: Path, directory: Path, most: str, limit: str) -> int:
    """Record; return the exit code. Raises EdgeAgentError."""
    logs.configure("warning")
    seconds, bytes_ = _seconds(most), _bytes(limit) * (_PACKED if file.suffix == ".gz" else 1)
    config = load(directory)
    if not config.devices:
        raise ConfigError("there is no device to record; put one into devices/ beside agent.yaml")
    with _created(file) as out, as_owner(config.identity.folder):
        asyncio.run(_record(config, out, file, seconds, bytes_))
    return 0


async def _record(config: AgentConfig, out: IO[bytes], file: Path, seconds: float, limit: int) -> None:
    clock, stop = plant_clock(), asyncio.Event()
    writer = Writer(out, header_of(config, clock))
    recorder = Recorder(config, writer, clock, limit)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print(f"recording {many(len(config.devices), 'device')} into {file}; Ctrl-C ends it", file=sys.stderr, flush=True)
    flushing = asyncio.create_task(_flushed(out, recorder))
    try:
        await recorder.run(seconds, stop)
    finally:
        flushing.cancel()
        await asyncio.wait([flushing])
    silent = [name for name, up in recorder.up.items() if not up]
    full = "; the file is full, --limit says how large it may become" if recorder.full.is_set() else ""
    away = f"; no answer from {', '.join(silent)} at the end" if silent else ""
    print(f"{many(recorder.rows, 'sample')} in {many(writer.lines, 'line')}{full}{away}", file=sys.stderr)


async def _flushed(out: IO[bytes], recorder: Recorder) -> None:
    progress = Progress()
    try:
        while True:
            for _ in range(round(_FLUSH)):
                await asyncio.sleep(1.0)
                progress(f"{many(recorder.rows, 'sample')} recorded")
            out.flush()
    finally:
        progress.done()


@contextlib.contextmanager
def _created(file: Path) -> Iterator[IO[bytes]]:
    """Open a new file; one that is there already is kept. Raises EdgeAgentError."""
    try:
        with file.open("xb") as raw:
            if file.suffix != ".gz":
                yield raw
                return
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw) as packed:
                yield cast("IO[bytes]", packed)
    except FileExistsError as error:
        raise EdgeAgentError(f"{file} exists already; name another file, or remove it") from error
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror or error}") from error


def _seconds(text: str) -> float:
    try:
        return duration(text) / NS
    except ValueError as error:
        raise ConfigError(f"--for: {error}") from error


def _bytes(text: str) -> int:
    if match := _SIZE.match(text):
        return round(float(match[1]) * _SIZES[match[2]])
    raise ConfigError(f"--limit: {text!r} is no size; write a number with its unit: 500kB, 100MB or 2GB")


# -- simulate ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    file: Path
    config: Path | None
    output: Path | None
    expect: Path | None
    diff: Path | None
    restart_everywhere: bool


def simulate(wish: Wish) -> int:
    """Derive a recording again; return the exit code. Raises EdgeAgentError."""
    recording = Recording(wish.file)
    line = _line(wish.config, recording)
    events = list(derive(line, _given(recording, line), restarts=wish.restart_everywhere))
    if wish.output is not None:
        _write(wish.output, events)
    if wish.diff is not None:
        other = line_of(load(wish.diff))
        return _compared(events, list(derive(other, _given(recording, other))), f"{wish.config or 'recorded'}", str(wish.diff))
    if wish.expect is not None:
        return _compared(_read(wish.expect), events, str(wish.expect), str(wish.file))
    if wish.output is None:
        sys.stdout.flush()
        sys.stdout.buffer.writelines(events)
        sys.stdout.buffer.flush()
    else:
        print(f"{many(len(events), 'event')} into {wish.output}")
    return 0


def _line(config: Path | None, recording: Recording) -> Line:
    """Return the configuration to derive with: the one that is named, the one that the recording carries, or the installed one."""
    if config is None and recording.header.line:
        return line_in(recording.header.line)
    return line_of(load(config or DEFAULT_CONFIG))


def _told(recording: Recording) -> Iterator[Given]:
    """Yield what is in a recording, and tell how far it is when that takes long."""
    progress = Progress()
    try:
        for number, given in enumerate(recording, 1):
            if number % _TELL == 0:
                progress(f"{recording.file}: {number:,} readings derived again")
            yield given
    finally:
        progress.done()


def _given(recording: Recording, line: Line) -> Iterator[Given]:
    """Yield the recording as the present configuration names and scales it; say once which tags do not fit."""
    scaled = bool(recording.header.line)  # what carries its own meaning was told in it, not recorded from the wire
    places = Places(replace(line, scalings={}) if scaled else line, recording.header.devices)
    for refs, what in ((places.unknown, "recorded, but not in this configuration"), (places.missing, "not in the recording")):
        if refs:
            more = f" and {len(refs) - 5} more" if len(refs) > 5 else ""
            print(f"{recording.file}: {what}: {', '.join(refs[:5])}{more}", file=sys.stderr)
    for given in _told(recording):
        if not isinstance(given, Batch):
            yield given
        elif given.device in line.devices:
            yield places.batch(given)


def _compared(wanted: list[bytes], was: list[bytes], one: str, other: str) -> int:
    """Print what differs; return 1 when something does."""
    if wanted == was:
        print(f"{many(len(was), 'event')}, the same byte by byte")
        return 0
    before, after = ([line.decode("utf-8", "replace").rstrip("\n") for line in lines] for lines in (wanted, was))
    shown = list(difflib.unified_diff(before, after, one, other, lineterm="", n=0))
    print("\n".join(plain(line) for line in shown[:_MOST_DIFFERENCES]))
    if len(shown) > _MOST_DIFFERENCES:
        print(f"... and {len(shown) - _MOST_DIFFERENCES} lines more")
    return 1


def _read(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror}; check the path") from error


def _write(file: Path, lines: list[bytes]) -> None:
    try:
        file.write_bytes(b"".join(lines))
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror}") from error
