"""Addresses as vendors print them, typed on a command line."""

import pytest

from edge_agent.drivers.modbus.printed import Asked, asked, shown

FORMS = {
    "40011": ("holding", 10),
    "400011": ("holding", 10),
    "30005": ("input", 4),
    "10001": ("discrete", 0),
    "00001": ("coil", 0),
    "4x0011": ("holding", 10),
    "3X00005": ("input", 4),
    "holding 10": ("holding", 10),
    "Holding:10": ("holding", 10),
    "HR10": ("holding", 10),
    "IR 4": ("input", 4),
    "%MW10": ("holding", 10),
    "%IW4": ("input", 4),
    "%MX7": ("coil", 7),
    "coil 3": ("coil", 3),
    "10": ("holding", 10),
    "0x000A": ("holding", 10),
    "0xffff": ("holding", 65535),
    "holding 40011": ("holding", 40011),
    "1234": ("holding", 1234),
    "20000": ("holding", 20000),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_vendors_print_is_understood(form: str) -> None:
    """Area and number on the wire, whatever the table looks like."""
    assert asked([form], None, 0)[:2] == FORMS[form]


def test_numbers_that_count_from_one() -> None:
    """A plain number is counted from the first one's name; a reference counts from 1 always, an IEC name and a hex number from 0."""
    assert [asked([form], None, 1).address for form in ("11", "holding 11", "40011", "%MW10", "0x0A")] == [10] * 5


def test_how_many() -> None:
    """The count stands behind the register, in one word or in several; it ends with the last register."""
    assert asked(["holding", "10", "6"], None, 0) == asked(["holding 10 6"], None, 0) == Asked("holding", 10, 6, counted=True)
    assert asked(["40011"], None, 0) == Asked("holding", 10, 4)
    assert asked(["65535"], "input", 0) == Asked("input", 65535, 1)
    assert shown(Asked("input", 4, 1)) == "input 4 (printed 30005), 1 register"
    assert shown(Asked("holding", 65535, 2)) == "holding 65535 (printed 465536), 2 registers"


@pytest.mark.parametrize(
    ("words", "area", "base", "remedy"),
    [
        (["blah"], None, 0, "write what the vendor prints"),
        (["%QW10"], None, 0, "write what the vendor prints"),
        (["40011", "0"], None, 0, "write 1 to 125"),
        (["40011", "126"], None, 0, "write 1 to 125"),
        (["coil 0", "2001"], None, 0, "write 1 to 2000"),
        (["40011", "4", "5"], None, 0, "holding 10 4"),
        (["70000"], None, 0, "behind the last one"),
        (["0"], None, 1, "before the first one"),
        (["holding 5"], "input", 0, "leave one of them out"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(words: list[str], area: str | None, base: int, remedy: str) -> None:
    """What is no register is not read."""
    with pytest.raises(ValueError, match=remedy):
        asked(words, area, base)  # type: ignore[arg-type]
