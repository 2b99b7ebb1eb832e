"""What a broker may do wrong, by name. ``NAME[:ARGUMENT][,every=N][,times=N][,topic=FILTER][,holding=TEXT]``.

| name | argument | what happens |
|---|---|---|
| never_ack | | PUBLISH is written to the ledger and never acknowledged |
| drop_ack | | the same, meant with every= or times=: a lost acknowledgement |
| ack_twice | | two PUBACKs |
| ack_wrong_id | | the PUBACK names another packet identifier (the right one never comes) |
| ack_reordered | count, 4 | PUBACKs are held until so many wait (or 50 ms) and sent backwards |
| reason_code | 0x80..0xFF | the PUBACK refuses with this code; MQTT 3.1.1 has none: the connection is closed |
| disconnect | 0x80..0xFF | the PUBLISH is answered by DISCONNECT with this code, and is not taken |
| slow | ms | every PUBACK comes this much later |
| garbage | seed, 1 | random bytes instead of a PUBACK |
| no_connack | | CONNECT is never answered |
| connack | 0x80..0xFF | CONNECT is refused with this code |
| receive_maximum, maximum_packet | n | as CONNACK announces and the broker enforces; for new connections |
| disconnect_after | bytes | a connection is reset when so many bytes have come |
| take_over | ms, 0 | so long after CONNACK another client takes the session: DISCONNECT 0x8E |
| refuse | | connections are reset and refused |

``every=N``: only each N-th time; ``times=N``: only N times, then it is over; ``topic=FILTER``: only for topics that match;
``holding=TEXT``: only for messages whose payload has TEXT in it (no comma), the same ones each time they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulators.mqtt_wire import Message

_ARGUMENT = {
    "never_ack": None, "drop_ack": None, "ack_twice": None, "ack_wrong_id": None, "no_connack": None, "refuse": None,
    "ack_reordered": 4, "garbage": 1, "take_over": 0,
    "reason_code": ..., "disconnect": ..., "slow": ..., "connack": ..., "receive_maximum": ..., "maximum_packet": ..., "disconnect_after": ...,
}  # fmt: skip
"""None: takes no argument; a number: the default; ``...``: has to be given."""
_CODES = {"reason_code", "connack", "disconnect"}


@dataclass
class Fault:
    """One fault that is on."""

    name: str
    argument: int = 0
    every: int = 1
    times: int | None = None
    topic: str = "#"
    holding: str = ""
    met: int = 0
    done: int = 0

    def __str__(self) -> str:
        """Write it as it is given."""
        argument = "" if _ARGUMENT[self.name] is None else f":{self.argument}"
        limits = f",every={self.every}" * (self.every > 1) + (f",times={self.times}" if self.times else "")
        which = f",topic={self.topic}" * (self.topic != "#") + f",holding={self.holding}" * bool(self.holding)
        return f"{self.name}{argument}{limits}{which}"


def parse(text: str) -> Fault:
    """Return the fault that ``text`` describes; raises ValueError with what is wrong."""
    head, *options = text.strip().split(",")
    name, colon, argument = head.partition(":")
    if name not in _ARGUMENT:
        raise ValueError(f"no fault {name!r}; there are {', '.join(_ARGUMENT)}")
    expected = _ARGUMENT[name]
    if (expected is None and colon) or (expected is ... and not argument):
        raise ValueError(f"{name} takes {'no' if expected is None else 'an'} argument")
    default = expected if isinstance(expected, int) else 0
    fault = Fault(name, _number(argument) if argument else default)
    if name in _CODES and not 0x80 <= fault.argument <= 0xFF:
        raise ValueError(f"{name} takes a code from 0x80 to 0xFF, not {argument}")
    for option in options:
        _limit(fault, *option.partition("=")[::2])
    return fault


def _limit(fault: Fault, key: str, given: str) -> None:
    if key in {"topic", "holding"}:
        setattr(fault, key, given)
    elif key == "every":
        fault.every = max(1, _number(given))
    elif key == "times":
        fault.times = _number(given)
    else:
        raise ValueError(f"no option {key!r}; there are every, times, topic and holding")


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"{text!r} is no whole number, 0 or more")
    return number


class Faults:
    """The faults that are on; ``changed`` is called when one begins or ends."""

    def __init__(self, *texts: str) -> None:
        self.on: dict[str, Fault] = {}
        self.changed: Callable[[], None] = lambda: None
        for text in texts:
            self.begin(text)

    def begin(self, text: str) -> None:
        """Switch a fault on, in place of one with the same name. Raises ValueError."""
        fault = parse(text)
        self.on[fault.name] = fault
        self.changed()

    def end(self, name: str | None = None) -> None:
        """Switch one fault off, or all."""
        if name is None:
            self.on.clear()
        else:
            self.on.pop(name, None)
        self.changed()

    def is_on(self, name: str) -> bool:
        """Say whether a fault is on, without counting."""
        return name in self.on

    def argument(self, name: str) -> int | None:
        """Return the argument of a fault that is on, without counting."""
        fault = self.on.get(name)
        return None if fault is None else fault.argument

    def strikes(self, name: str, message: Message | None = None) -> Fault | None:
        """Meet an occasion for a fault: return it when it strikes this time."""
        fault = self.on.get(name)
        if fault is None or (message and not (matches(fault.topic, message.topic) and fault.holding.encode() in message.payload)):
            return None
        fault.met += 1
        if fault.met % fault.every:
            return None
        fault.done += 1
        if fault.times is not None and fault.done >= fault.times:
            self.end(name)
        return fault


def matches(pattern: str, topic: str) -> bool:
    """Say whether a topic filter matches a topic name (MQTT 5.0, 4.7): no wildcard at the first level meets a ``$``."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for index, each in enumerate(wanted):
        if each == "#":
            return True
        if index >= len(levels) or each not in {"+", levels[index]}:
            return False
    return len(wanted) == len(levels)
