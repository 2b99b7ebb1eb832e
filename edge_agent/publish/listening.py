"""What the agent hears beside the commands: retained messages that others keep for it. Untrusted, small, and judged by whoever listens."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

LARGEST = 4_096
"""Bytes of a message that is looked at."""


class Listening(msgspec.Struct, frozen=True):
    """Topic filters to subscribe with what is retained there, and who hears it. ``heard`` (topic, payload) neither waits nor raises."""

    filters: tuple[str, ...]
    heard: Callable[[str, bytes], None]


NOTHING = Listening((), lambda _topic, _payload: None)
