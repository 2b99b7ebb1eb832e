"""The columns of a tag list (CSV) and how their cells read: the keys of a tag, by the kind of what stands in them."""

from __future__ import annotations

from typing import Final

COLUMNS: Final = {
    **dict.fromkeys(
        (
            "register",
            "ref",
            "type",
            "byte",
            "word_order",
            "packing",
            "encoding",
            "uom",
            "same_read_as",
            "scale_from.exponent",
            "scale_from.factor",
        ),
        "text",
    ),
    "poll": "measure",
    **dict.fromkeys(("address", "length", "bit", "scale", "offset", "deadband", "read_twice"), "value"),
    "ratio": "texts",
    **dict.fromkeys(("bad_values", "clamp"), "list"),
    "names": "table",
}
"""text as it stands; measure: text with a number in it; value: a number or true; list: several values with blanks or | between; texts: the
same of texts; table: 0=stopped | 1=running."""
