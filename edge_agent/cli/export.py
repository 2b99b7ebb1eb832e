"""``edge-agent buffer export``: records to a file, to standard output, or to a broker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from pydantic import ValidationError

from edge_agent.agent.handover import Handover, broker_of
from edge_agent.cli.missing import Missing
from edge_agent.cli.reach import Reached, ask
from edge_agent.cli.words import many, plain
from edge_agent.model.errors import DisconnectedError, EdgeAgentError
from edge_agent.publish.config import MqttConfig
from edge_agent.status.report import Wanted

_QUIET = 2.0
"""Seconds without a word; whatever takes longer tells how far it is."""


@dataclass(frozen=True)
class Broker:
    """A broker, as the user said it: by ``option``, with the file of its password by ``secret``."""

    url: str
    ca: str | None
    username: str | None
    password_file: Path | None
    allow_insecure: bool
    option: str = "--publish"
    secret: str = "--password-file"  # noqa: S105 - the name of an option

    def config(self) -> MqttConfig:
        """Return the settings. Raises EdgeAgentError with the remedy."""
        settings = {"broker": self.url, "allow_insecure": self.allow_insecure, "username": self.username}
        settings |= {"password_file": self.password_file, "tls": {"ca": self.ca} if self.ca else None}
        try:
            return MqttConfig.model_validate(settings)
        except ValidationError as invalid:
            text = "; ".join(error["msg"].removeprefix("Value error, ") for error in invalid.errors())
            text = text.replace("allow_insecure: true", "--allow-insecure").replace("tls: {ca: FILE}", "--ca FILE")
            text = text.replace("tls: {ca: system}", "--ca system").replace("password_file", self.secret)
            raise EdgeAgentError(f"{self.option}: {text.replace('use username', 'use --username')}") from invalid


class Progress:
    """Tells on stderr how far a long export is."""

    def __init__(self, done: str) -> None:
        """Count records that were ``done`` (a word for it)."""
        self.count = 0
        self._done = done
        self._next = time.monotonic() + _QUIET
        self._line = sys.stderr.isatty()
        self._told = False

    def add(self, count: int) -> None:
        """Count some more."""
        self.count += count
        if (now := time.monotonic()) >= self._next:
            self._next = now + (0.5 if self._line else 5.0)
            self._say(" ...", "" if self._line else "\n")
            self._told = True

    def end(self) -> None:
        """Finish the line."""
        self._say("    " if self._told else "", "\n")

    def _say(self, after: str, end: str) -> None:
        start = "\r" if self._line and self._told else ""
        print(f"{start}{many(self.count, 'record')} {self._done}{after}", end=end, file=sys.stderr, flush=True)


def export(directory: Path | None, store: Path | None, wanted: Wanted, output: Path | None, broker: Broker | None) -> int:
    """Export ``wanted`` and return the exit code. Raises EdgeAgentError; a file that is not written to its end is not left behind."""
    if broker is not None:
        return _publish(directory, store, wanted, broker)
    progress, missing = Progress("exported"), Missing()
    with _file(output) as file:

        async def question(reached: Reached) -> str | None:
            async for lines in reached.desk.export(_of(reached, wanted)):
                file.write(lines)
                missing.see(lines)
                progress.add(lines.count(b"\n"))
            return _damage(reached)

        damaged = ask(directory, store, question, wanted)
    progress.end()
    return missing.tell("exported", damaged)


def _of(reached: Reached, wanted: Wanted) -> Wanted:
    """Return what is wanted in the epoch that it has: what was saved of a damaged store keeps the epoch of that store."""
    if reached.damage is None or wanted.stream is None or wanted.epoch is not None:
        return wanted
    return msgspec.structs.replace(wanted, epoch=reached.damage.epoch)


def _damage(reached: Reached) -> str | None:
    return None if reached.damage is None else reached.damage.error


@contextmanager
def _file(output: Path | None) -> Iterator[BinaryIO]:
    """Give a file that gets its name when it is complete and on the disk. Raises EdgeAgentError."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if output.exists():
        raise EdgeAgentError(f"{output} exists already; choose another name")
    draft = output.with_name(f"{output.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(output)
    except OSError as error:
        raise EdgeAgentError(f"cannot write {output}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _publish(directory: Path | None, store: Path | None, wanted: Wanted, broker: Broker) -> int:
    config = broker.config()
    progress, missing = Progress("published"), Missing()
    handover = Handover(progress.add)

    async def question(reached: Reached) -> str | None:
        if reached.own is None:
            raise EdgeAgentError(
                "the agent is running and publishes itself; `edge-agent buffer resend` makes it send records again"
            )
        async with broker_of(config, await reached.own.envelope()) as sink:
            await handover.run(missing.watch(reached.own.records(_of(reached, wanted))), sink)
        return _damage(reached)

    try:
        damaged = ask(directory, store, question, wanted)
    except DisconnectedError as error:
        raise EdgeAgentError(
            f"{plain(str(error))}; {many(handover.sent, 'record')} had arrived. Run it again: repeats are recognised by their ids"
        ) from error
    progress.end()
    code = missing.tell("published", damaged)
    for name, reason in handover.refused:
        print(f"refused: {name}: {plain(reason)}", file=sys.stderr)
    if handover.refused:
        raise EdgeAgentError(f"the broker refused {many(len(handover.refused), 'record')}; they are still in the store")
    return code
