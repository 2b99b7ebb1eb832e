"""Where a thing stands in the plant: the ISA-95 path from enterprise to work unit."""

from __future__ import annotations

import msgspec


class EquipmentPath(msgspec.Struct, frozen=True):
    """The ISA-95 levels above and including a work unit: ``acme/plant1/packaging/line3/filler``.

    Levels are names as the user wrote them; what is not allowed in a topic is refused when the config is loaded.
    """

    levels: tuple[str, ...]

    def __str__(self) -> str:
        """Return the path with slashes, as it stands in ``subject`` and in topics."""
        return "/".join(self.levels)

    def child(self, name: str) -> EquipmentPath:
        """Return the path one level below."""
        return EquipmentPath((*self.levels, name))
