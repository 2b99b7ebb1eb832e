"""How far a counting register went from one sample to the next: pure integer arithmetic, the same for parts and for energy.

A register that stands lower than before has wrapped, was corrected, was reset, or lies; which of these it was follows from how fast
the machine can count at most. Nothing is counted that the rate does not allow: what no explanation fits is held until a second
sample confirms it, and then declared, not counted. Everything here is in raw units of the register.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from edge_agent.model.instant import NS

Kind = Literal["rollover", "reset", "device_restart", "preset", "correction", "implausible", "baseline"]
"""What `counter.discontinuity` says of a step that was not plain counting."""

Sign = Literal["reset", "device_restart"]
"""Evidence that the register may have been zeroed: by somebody, or by a restart of its device. It permits a reset, it proves none."""

OnRestart = Literal["zeroes", "keeps", "unknown"]
"""What a register does at a restart of its device, as far as the user knows."""

WRAPS = "uint16, uint32, dint, packml, digits:N (a meter with N digits), modulus:N (0 follows N-1) or never"
_DIGITS = re.compile(r"^digits:([1-9]\d?)$")
_OWN = re.compile(r"^modulus:([1-9]\d{1,18})$")
_MODULUS = {"uint16": 1 << 16, "uint32": 1 << 32, "dint": 1 << 32, "packml": 1 << 31, "never": None}


def modulus_of(wraps: str) -> int | None:
    """Return the number of values of a register that ``wraps`` so (None: it never does); the next one after the largest is 0.

    PackML counts are Int32 and go from 2,147,483,647 to 0 (OPC 30050); a plain DINT goes on at -2,147,483,648, so its bits are taken as
    unsigned. Raises ValueError for any other word.
    """
    if match := _DIGITS.match(wraps):
        return int(10 ** int(match[1]))
    if match := _OWN.match(wraps):
        return int(match[1])
    if wraps not in _MODULUS:
        raise ValueError(f"{wraps!r} is not a way a counter wraps; write {WRAPS}")
    return _MODULUS[wraps]


class Register(msgspec.Struct, frozen=True):
    """What a register means. ``modulus`` values (None: it never wraps); ``rate`` = the fastest it can count, in 10^-9 raw units a second.

    ``burst`` raw units more than the rate allows are still believed (jitter of the sampling), ``back_tol`` is how far it may be pulled
    back as a correction, ``grace`` (ns) is the least time given to a register to count after a reset.
    """

    modulus: int | None
    rate: int
    burst: int = 0
    back_tol: int = 0
    on_restart: OnRestart = "unknown"
    grace: int = 0

    def most(self, elapsed: int) -> int:
        """Return the most it can have counted in ``elapsed`` ns, without the burst."""
        return self.rate * max(elapsed, 0) // (NS * NS)


class Advance(msgspec.Struct, frozen=True):
    """One step: what it was (None: plain counting), how much is counted, what may be missing at most, and why it is believed.

    ``held`` = nothing explains it yet; nothing is counted and the baseline must stay.
    """

    delta: int
    kind: Kind | None = None
    uncounted: tuple[int, int] = (0, 0)
    evidence: tuple[str, ...] = ()
    held: bool = False


def advance(
    last: int, value: int, elapsed: int, register: Register, sign: Sign | None = None, *, unseen: int | None = None
) -> Advance:
    """Explain the step from ``last`` to ``value`` within ``elapsed`` ns, given ``sign`` of a reset or none.

    Both values lie in 0 <= v < modulus. ``unseen`` (ns, at most ``elapsed``) is how long the register can have moved if it is taken at its
    word that silence meant standing. A rollover is tried before a reset, except where something says that the register was zeroed.
    """
    if sign is not None:
        return _after_sign(last, value, elapsed, register, sign)
    moved = elapsed if unseen is None else unseen
    if value >= last:
        return _forward(last, value, elapsed, register, moved)
    rolled = _rollover(last, value, moved, register)
    if rolled is not None:
        return rolled
    if last - value <= register.back_tol:
        return Advance(value - last, "correction", evidence=("back_tol",))
    reset, rolled = _reset(last, value, moved, register, "reset"), _rollover(last, value, elapsed, register)
    if rolled is not None and not reset.held:  # silence may have been blindness: then these are missing
        return msgspec.structs.replace(reset, uncounted=(0, max(reset.uncounted[1], rolled.delta - value)))
    return rolled if rolled is not None else reset


def _forward(last: int, value: int, elapsed: int, register: Register, unseen: int) -> Advance:
    """Count a rise within ``elapsed`` ns; what it hides beyond itself can only have happened in ``unseen`` ns."""
    delta, limit = value - last, register.most(elapsed) + register.burst
    if delta > limit:
        return Advance(0, "implausible", (0, limit), ("too_fast",), held=True)
    turns = _unseen_turns(delta, register.most(unseen) + register.burst, register)
    if delta and turns:
        return Advance(delta, "rollover", (0, turns), ("may_have_wrapped",))
    return Advance(delta)


def _rollover(last: int, value: int, elapsed: int, register: Register) -> Advance | None:
    if register.modulus is None:
        return None
    delta, limit = register.modulus - last + value, register.most(elapsed) + register.burst
    if delta > limit:
        return None
    return Advance(delta, "rollover", (0, _unseen_turns(delta, limit, register)), ("near_max", "rate_ok"))


def _unseen_turns(delta: int, limit: int, register: Register) -> int:
    """Return how much more than ``delta`` whole turns can hide: after a long outage a small register may have wrapped unseen."""
    if register.modulus is None:
        return 0
    return max(limit - delta, 0) // register.modulus * register.modulus


def _reset(last: int, value: int, elapsed: int, register: Register, kind: Sign) -> Advance:
    """Count from zero, if that can have been reached; else somebody wrote a number into the register (or it lies): held."""
    before = register.most(elapsed)
    if value > register.most(max(elapsed, register.grace)) + register.burst:
        return Advance(0, "preset", (0, before + register.burst), ("too_high_for_a_reset",), held=True)
    return Advance(value, kind, (0, before), ("below_last",) if value < last else ())


def _after_sign(last: int, value: int, elapsed: int, register: Register, sign: Sign) -> Advance:
    if register.on_restart == "keeps":
        explained = (
            _forward(last, value, elapsed, register, elapsed) if value >= last else _rollover(last, value, elapsed, register)
        )
        return explained or _reset(last, value, elapsed, register, sign)
    if value < last:
        return _reset(last, value, elapsed, register, sign)
    limit = register.most(elapsed) + register.burst
    if register.on_restart == "zeroes" and value <= limit:
        return Advance(value, sign, (0, register.most(elapsed)))
    forward = _forward(last, value, elapsed, register, elapsed)
    if forward.held:
        return forward
    # Not known, or said to be zeroed and yet too high for that: the difference is the least that was made.
    evidence = ("zeroed_is_too_fast",) if register.on_restart == "zeroes" else ()
    return Advance(forward.delta, sign, (0, last), evidence)
