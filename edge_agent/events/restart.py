"""Whether a device restarted: what the evidence in its `Boot` notices proves, kept by every rule whose keys a restart ends."""

from __future__ import annotations

import msgspec

from edge_agent.model.reading import Boot


class BootMark(msgspec.Struct, frozen=True):
    """The evidence seen last: the device's own boot counter, and the start time of its server (UTC ns)."""

    boot_id: int | str | None = None
    started: int | None = None


def restarted(mark: BootMark, notice: Boot) -> tuple[BootMark, bool]:
    """Return the new mark, and whether ``notice`` proves a restart since ``mark``.

    The boot counter rules; the server's start time decides only where there is none, for a server may be restarted without the PLC.
    """
    new = BootMark(
        mark.boot_id if notice.boot_id is None else notice.boot_id, mark.started if notice.started is None else notice.started
    )
    if new.boot_id is not None:
        return new, mark.boot_id is not None and new.boot_id != mark.boot_id
    return new, mark.started is not None and new.started != mark.started
