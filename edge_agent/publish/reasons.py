"""What MQTT reason codes mean for a record and for a person, pure. OASIS MQTT 5.0, 2.4 and 3.4.2.1.

The library calls every acknowledged message published, whatever its code says; here only a success code finishes a record.

* DisconnectedError
  x RenewedError         we ended it ourselves, between two records: open the next one at once
  x RefusedError         the broker answered and said no; ``slow`` = it takes a person, so knock rarely
    x OtherVersionError  the broker does not speak the MQTT version that was tried
"""

from __future__ import annotations

from typing import Literal

from edge_agent.model.errors import DisconnectedError

Outcome = Literal["delivered", "unheard", "again", "never"]
"""``unheard`` = delivered, but nobody subscribes; ``again`` = may succeed later; ``never`` = this message will not be taken.

``not authorised`` (0x87) is ``again``: a wrong access list is mended by a person, and nothing may be lost until then.
"""

TAKEN_OVER = 0x8E

_NEVER = frozenset({0x90, 0x95, 0x99})
_SLOW = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x9D})

_NAMES = {
    0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
    0x84: "unsupported protocol version", 0x85: "client identifier not valid", 0x86: "bad user name or password",
    0x87: "not authorised", 0x88: "server unavailable", 0x89: "server busy", 0x8A: "banned", 0x8B: "server shutting down",
    0x8C: "bad authentication method", 0x8D: "keep alive timeout", 0x8E: "session taken over", 0x8F: "topic filter invalid",
    0x90: "topic name invalid", 0x91: "packet identifier in use", 0x93: "receive maximum exceeded", 0x94: "topic alias invalid",
    0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action",
    0x99: "payload format invalid", 0x9A: "retain not supported", 0x9B: "QoS not supported", 0x9C: "use another server",
    0x9D: "server moved", 0x9F: "connection rate exceeded", 0xA0: "maximum connect time",
}  # fmt: skip

_REMEDIES = {
    0x84: "set protocol: auto or the version that the broker speaks",
    0x85: "choose another client_id",
    0x86: "check username and password_file",
    0x87: "the broker's access list must let this user write below the agent's topics and read its cmd topics",
    0x8A: "the broker's administrator has banned this client",
    0x8E: "another client uses the same client_id; give each agent its own",
    0x9C: "set broker to the address that the administrator names",
    0x9D: "set broker to the address that the administrator names",
}


_CONNECT_REMEDIES = {
    0x87: "check username and password_file, and that the broker's access list admits this client_id",
}
"""Mosquitto says 0x87 for a wrong password too; access to topics is no matter of CONNECT."""


class RefusedError(DisconnectedError):
    """The broker answered and refused. ``slow``: only a person can change that, trying again at once is hammering."""

    def __init__(self, message: str, *, code: int = 0x80) -> None:
        """Say what was refused and with which reason code."""
        super().__init__(message)
        self.code = code
        self.slow = code in _SLOW


class RenewedError(DisconnectedError):
    """The connection was given up on purpose, with everything answered: new certificates, or a better broker is back."""

    planned = True
    retry_after = 0.0


class OtherVersionError(RefusedError):
    """The broker does not speak the MQTT version that was tried, or hung up on it; 3.1.1 may do."""


def outcome(code: int) -> Outcome:
    """Return what a PUBACK reason code (3.4.2.1) means for the message; codes not listed there may succeed later."""
    if code < 0x80:
        return "unheard" if code == 0x10 else "delivered"
    return "never" if code in _NEVER else "again"


def words(code: int, detail: str = "") -> str:
    """Return a reason code in words, with the broker's own text where it gave one (3.1: Reason String)."""
    name = _NAMES.get(code, "unknown reason")
    return f"{name} (0x{code:02X}{f', {detail!r}' if detail else ''})"


def remedy(code: int, *, connecting: bool = False) -> str:
    """Return ``; do this`` for a code that a person can do something about, else nothing; ``connecting``: it is a CONNACK's."""
    text = _CONNECT_REMEDIES.get(code, _REMEDIES.get(code)) if connecting else _REMEDIES.get(code)
    return f"; {text}" if text else ""
