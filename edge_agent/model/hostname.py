"""Host names and addresses that people write: what can be none is refused where it is read, not at the first try to connect."""

from __future__ import annotations

import ipaddress
import re

_NUMBERS = re.compile(r"\d+(\.\d+)+")
_CURLY = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\xab\xbb"


def host_name(text: str) -> str:
    """Return ``text``, a name or an address.

    Raises ValueError with cause and remedy: for four numbers that are no IPv4 address (the resolver takes 010 for octal 8), and for
    quotation marks of a word processor, which are letters of the name to YAML.
    """
    if any(char in _CURLY for char in text):
        raise ValueError(f"'{text}' has curly quotes, which YAML takes as part of the name; write straight ones, or none")
    if _NUMBERS.fullmatch(text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError as error:
            raise ValueError(
                f"'{text}' is no IP address; write four numbers from 0 to 255, without leading zeros: 192.168.0.10"
            ) from error
    return text
