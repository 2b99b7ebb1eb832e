"""Logging set-up, called once by the command line: one line per event, for a person, for journald, or as JSON."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Literal

import structlog

from edge_agent.journal import Journal

Format = Literal["text", "json", "journald"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_JOURNAL = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}


_now: list[str] = ["info", "auto"]


def current() -> tuple[str, str]:
    """Return level and style as they were set last, for a process that shall log in the same way."""
    level, style = _now
    return level, style


_IN_WORDS = structlog.processors.LogfmtRenderer(key_order=["event"])


def _fields(logger: object, method: str, event: structlog.typing.EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Return what the journal is given: the line in words, its syslog priority, its name and values as fields."""
    values = {key: value for key, value in event.items() if key not in {"event", "level"}}
    message = str(_IN_WORDS(logger, method, {"event": event["event"], **values}))
    return (message,), {"priority": _JOURNAL.get(method, 6), "name": str(event["event"]), "values": values}


def _to_journald(journal: Journal) -> Callable[..., Journal]:
    """Return what gives every logger the one way to journald."""
    return lambda *_: journal


def configure(level: str = "info", style: Format | None = None) -> None:
    """Send structlog to stderr at ``level``; ``style`` is found from the surroundings when None (journald, else text).

    The protocol libraries log through the standard library: only their warnings pass, in the same form. asyncua's INFO
    lines would print every publish result.
    """
    _now[:] = level, style or "auto"
    style = style or ("journald" if os.environ.get("JOURNAL_STREAM") else "text")
    shared: list[structlog.typing.Processor] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if style != "journald":
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    if style == "json":
        finish: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    elif style == "journald":
        finish = [structlog.processors.format_exc_info, _fields]
    else:
        # Plain tracebacks: rich ones show local variables, and a password may be one.
        finish = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_to_journald(Journal()) if style == "journald" else structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
    for library in ("asyncua", "pymodbus"):  # they log every closed connection; the link says it once, in words
        logging.getLogger(library).setLevel(logging.CRITICAL)


class _Forward(logging.Handler):
    """Passes a library's warning on to structlog, its text as data: control characters in it cannot forge a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record of the standard library."""
        log = structlog.get_logger().bind(logger=record.name)
        log.log(record.levelno, "library.message", text=repr(record.getMessage())[:500])
