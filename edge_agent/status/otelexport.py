"""Sends the metrics to an OpenTelemetry collector, again and again. A collector that is away or slow costs a thread, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import structlog

from edge_agent.model.errors import ConfigError, StorageError
from edge_agent.status.families import Family
from edge_agent.status.otel import metrics_data, snapshot
from edge_agent.status.otelconfig import OtelConfig, read_headers

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    from edge_agent.status.otelsession import Session

_TIMEOUT = 10.0
"""Machine seconds for one export with its retries."""

_LAST = 2.0
"""Machine seconds that the last export, or one that is under way, gets at the stop."""

_WORDS = 300
"""Characters of a reason."""

Gather = Callable[[], Awaitable[Sequence[Family]]]


@asynccontextmanager
async def exporting(config: OtelConfig | None, gather: Gather, agent: str, version: str) -> AsyncIterator[None]:
    """Export what ``gather`` returns while inside the block, and at its end once more where the collector answers. None: nothing is done."""
    if config is None:
        yield
        return
    export = Export(config, gather, agent, version)
    task = asyncio.create_task(export.run(), name="otel")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await export.close()


class Export:
    """The exports of one agent, one after the other."""

    def __init__(self, config: OtelConfig, gather: Gather, agent: str, version: str) -> None:
        """Send to the collector of ``config`` as the service edge-agent, instance ``agent``."""
        self._config, self._gather = config, gather
        self._who = {"service.name": "edge-agent", "service.instance.id": agent, "service.version": version}
        self._since = time.time_ns()
        self._exporter: OTLPMetricExporter | None = None
        self._under_way: asyncio.Future[str] | None = None
        self._up: bool | None = None
        self._session: Session | None = None
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(_quiet())
        self._log = structlog.get_logger().bind(endpoint=config.endpoint)

    async def run(self) -> None:
        """Export each time it is due, until cancelled."""
        every, loop = self._config.every / 1e9, asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.once()
            due = max(due + every, loop.time())
            await asyncio.sleep(due - loop.time())

    async def once(self) -> None:
        """Export once; what goes wrong is logged where it did not before."""
        try:
            families = snapshot(await self._gather())
        except StorageError:
            return  # status, log and broker say what the store is in; there are no figures without it
        except Exception as error:  # noqa: BLE001 - a figure that cannot be made: the log tells it, and the next export tries again
            self._told(f"{type(error).__name__}: {error}")
            return
        self._told(await asyncio.shield(self._sent(families)))

    async def close(self) -> None:
        """Send the last figures where the collector answers, and end; takes no longer than some seconds, whatever the collector does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                if self._under_way is not None and self._up is not False:
                    self._told(await asyncio.shield(self._under_way))
                if self._up:
                    await self.once()
        if self._exporter is not None:
            self._exporter.shutdown()  # an export that waits for its next try gives up
        self._quiet.close()

    def _told(self, reason: str) -> None:
        """Log a change: it is one line, however long the collector is away."""
        up, before, self._up = not reason, self._up, not reason
        if up and not before:
            self._log.info("otel.exported")
        elif not up and before is not False:
            self._log.warning("otel.not_exported", reason=reason)

    def _sent(self, families: Sequence[Family]) -> asyncio.Future[str]:
        """Begin to send in a thread of its own, which no stop waits for; the result is why it failed, empty when it did not."""
        loop, now = asyncio.get_running_loop(), time.time_ns()
        done = self._under_way = loop.create_future()

        def send() -> None:
            reason = self._send(families, now)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(finish, reason)

        def finish(reason: str) -> None:
            self._under_way = None
            if not done.done():
                done.set_result(reason)

        threading.Thread(target=send, name="otel", daemon=True).start()
        return done

    def _send(self, families: Sequence[Family], now: int) -> str:
        try:
            if self._exporter is None or self._session is None:
                self._exporter, self._session = _exporter(self._config)
            result = self._exporter.export(metrics_data(families, self._who, self._since, now))
        except ConfigError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever the packages raise: the log tells it, and the next export tries again
            return f"{type(error).__name__}: {error}"[:_WORDS]
        return "" if result.name == "SUCCESS" else self._session.reason or "it was not sent"


def _exporter(config: OtelConfig) -> tuple[OTLPMetricExporter, Session]:
    """Return the SDK's exporter and what it sends by. Raises ConfigError for headers that cannot be used, ImportError without the extra."""
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - an extra
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - as above

    from edge_agent.status.otelsession import Session  # noqa: PLC0415 - as above

    session = Session()
    exporter = OTLPMetricExporter(
        endpoint=config.url,
        certificate_file=None if config.ca is None else str(config.ca),
        headers=read_headers(config.headers_file),
        timeout=min(_TIMEOUT, config.every / 1e9),
        compression=Compression.Gzip,
        session=session,
    )
    return exporter, session


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the packages' lines out of the log: they say the same at every try."""
    logger = logging.getLogger("opentelemetry")
    before, logger.propagate, silent = logger.propagate, False, logging.NullHandler()
    logger.addHandler(silent)
    try:
        yield
    finally:
        logger.removeHandler(silent)
        logger.propagate = before
