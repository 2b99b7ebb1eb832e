"""HTTP to an OpenTelemetry collector, which remembers why a request failed: the exporter itself says only that one did. Imported with the extra alone."""

from __future__ import annotations

from typing import Any

import requests

_WORDS = 300
"""Characters of a reason."""


class Session(requests.Session):
    """A session that takes from the surroundings neither a ~/.netrc nor a proxy: nobody wrote them into the configuration."""

    def __init__(self) -> None:
        """Begin without a reason."""
        super().__init__()
        self.trust_env = False
        self.reason = ""

    def request(self, *args: Any, **otherwise: Any) -> requests.Response:
        """Send, and note why it failed, in words without headers."""
        try:
            answer = super().request(*args, **otherwise)
        except Exception as error:
            self.reason = _root(error)[:_WORDS]
            raise
        self.reason = f"the collector answers {answer.status_code} {answer.reason}"[:_WORDS]
        return answer


def _root(error: BaseException) -> str:
    """Return what the error began with: three layers above it say it again, each longer."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
