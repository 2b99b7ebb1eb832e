"""``edge-agent consume``: the MES side as a service."""

from __future__ import annotations

import os
import signal
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from edge_agent import logs
from edge_agent.agent.notify import notify, watchdog_seconds
from edge_agent.cli.export import Broker as Settings
from edge_agent.consumer import link, rest, topics
from edge_agent.consumer.consume import Consumer
from edge_agent.consumer.database import Database, open_database
from edge_agent.model.errors import ConfigError
from edge_agent.model.tls import tls_context
from edge_agent.publish import tls
from edge_agent.publish.config import MqttConfig


@dataclass(frozen=True)
class Wish:
    """What the user wants, as it was said."""

    database: str
    database_password_file: Path | None
    broker: Settings
    root: str
    client_id: str
    patience: float
    rest: str | None
    rest_token_file: Path | None
    rest_ca: Path | None


def consume(wish: Wish, level: str, style: str) -> None:
    """Consume until SIGTERM or Ctrl-C. Raises ConfigError, StorageError."""
    logs.configure(level, None if style == "auto" else style)  # type: ignore[arg-type]  # typer checked the word
    reply = f"{wish.root}-consumer/{topics_level(wish.client_id)}/reply"
    client = link.Link(_broker(wish), topics.filters(wish.root), reply)
    poster = None if wish.rest is None else rest.Poster(lambda: _open(wish), _target(wish))
    database = _open(wish)
    try:
        consumer = Consumer(
            database,
            client,
            wish.root,
            patience=wish.patience,
            outbox=poster is not None,
            passed_on=poster.wake if poster else _nothing,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: consumer.stop())
        if poster is not None:
            poster.start()
        consumer.run(_ready, _Alive())
        structlog.get_logger().info("consumer.stopped", **_said(consumer))
    finally:
        notify("STOPPING=1")
        if poster is not None:
            poster.stop()
        database.close()


def topics_level(name: str) -> str:
    """Return ``name`` as one level of a topic."""
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in name)


def _said(consumer: Consumer) -> dict[str, int]:
    tally = consumer.store.tally
    return {name: getattr(tally, name) for name in ("received", "applied", "duplicates", "alarms", "lost")}


def _open(wish: Wish) -> Database:
    return open_database(wish.database, wish.database_password_file)


def _ready() -> None:
    notify("READY=1", "STATUS=consuming")
    if not os.environ.get("NOTIFY_SOCKET"):
        print("ready", flush=True)


class _Alive:
    """Tells systemd that the loop turns, no more often than it wants to know."""

    def __init__(self) -> None:
        self._every, self._due = watchdog_seconds(), 0.0

    def __call__(self) -> None:
        if self._every is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._every
            notify("WATCHDOG=1")


def _broker(wish: Wish) -> link.Broker:
    config: MqttConfig = wish.broker.config()
    if len(config.brokers) != 1:
        raise ConfigError("--broker: name one broker")
    broker = config.brokers[0]
    return link.Broker(
        broker.host,
        broker.port,
        wish.client_id,
        config.username,
        None if config.password_file is None else tls.password(config.password_file),
        None if config.tls is None else tls_context(config.tls),
        broker.path if broker.websocket else None,
    )


def _target(wish: Wish) -> rest.Target:
    url = rest.checked(wish.rest or "", allow_insecure=wish.broker.allow_insecure)
    token = None if wish.rest_token_file is None else tls.password(wish.rest_token_file)
    if not url.startswith("https:"):
        return rest.Target(url, token)
    try:
        return rest.Target(url, token, ssl.create_default_context(cafile=wish.rest_ca))
    except OSError as error:
        raise ConfigError(f"--rest-ca {wish.rest_ca}: {error.strerror or error}") from error


def _nothing() -> None:
    pass
