"""The state of a rule as bytes: what cannot be read begins anew, whatever is wrong with it."""

from __future__ import annotations

import msgspec
import pytest

from edge_agent.events.stored import _Envelope, pack, unpack


class Told(msgspec.Struct):
    """A state with a text."""

    text: str


def found(stored: bytes) -> Told | None:
    """Return the state in ``stored``."""
    return unpack(stored, Told, version=1, fingerprint="f")


def enveloped(state: bytes) -> bytes:
    """Return ``state`` in an envelope that is right."""
    return msgspec.msgpack.encode(_Envelope(1, "f", state))


def test_a_state_comes_back():
    """As long as version and fingerprint are the same."""
    stored = pack(Told("é"), version=1, fingerprint="f")
    assert found(stored) == Told("é")
    assert unpack(stored, Told, version=2, fingerprint="f") is None
    assert unpack(stored, Told, version=1, fingerprint="g") is None


GARBAGE = {
    "nothing": b"",
    "no_map": b"\xff" * 9,
    "cut": msgspec.msgpack.encode(Told("x"))[:-1],
    "no_text": msgspec.msgpack.encode(Told("xy")).replace(b"xy", b"\xff\xfe"),
    "nested_too_deep": b"\x82\xa1x" + b"\x91" * 100_000 + b"\xc0\xa4text\xa1y",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_what_cannot_be_read_is_none(garbage: bytes):
    """States come by way of the broker, too, where anybody may have written them."""
    assert found(enveloped(garbage)) is None
    assert found(garbage) is None
