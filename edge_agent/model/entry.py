"""A mistake that only shows in the table around it, and belongs to one entry of that table: people are pointed to the entry."""

from __future__ import annotations


class EntryError(ValueError):
    """``text`` (cause; remedy) is wrong about the entry that stands at ``at`` inside the table that is validated. For validators of whole models."""

    def __init__(self, text: str, *at: str | int) -> None:
        """Carry the keys and places that lead from the table to its entry."""
        super().__init__(text)
        self.at = at
