"""Whether the primary host is there, judged by its STATE messages. Pure. Specification 5.4 and 5.6."""

from __future__ import annotations

from typing import Any, Literal

from edge_agent.model.outside import from_json

Verdict = Literal["online", "offline", "ignored"]


class PrimaryHost:
    """What is known of one primary host at one broker.

    A word counts when its timestamp is not before that of the last one that counted
    (tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp): a will that was written long ago may arrive late.
    """

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self.online = False
        self._newest: int | None = None

    def said(self, body: bytes) -> Verdict:
        """Take one STATE message in; what is no JSON object with ``online`` and ``timestamp`` (ms) is ignored."""
        try:
            content = from_json(body, dict[str, Any])
        except ValueError:
            return "ignored"
        online, timestamp = content.get("online"), content.get("timestamp")
        if not isinstance(online, bool) or isinstance(timestamp, bool) or not isinstance(timestamp, int):
            return "ignored"
        if self._newest is not None and timestamp < self._newest:
            return "ignored"
        self._newest, self.online = timestamp, online
        return "online" if online else "offline"
