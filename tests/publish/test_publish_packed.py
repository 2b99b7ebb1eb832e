"""Properties and sizes built by hand, judged by the library's decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from edge_agent.publish import packed

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=6), TEXT, st.none() | st.integers(0, 2**32 - 1), st.none() | st.binary(max_size=40))
def test_the_library_reads_what_was_packed(pairs, content_type, expiry, correlation):
    """Every property comes back as it was given, and the length covers all of it."""
    raw = packed.publish(packed.head(content_type), packed.user(pairs), expiry=expiry, correlation=correlation)
    properties = Properties(PacketTypes.PUBLISH)
    _, used = properties.unpack(raw)
    assert used == len(raw)
    assert getattr(properties, "UserProperty", []) == pairs
    assert properties.ContentType == content_type
    assert properties.PayloadFormatIndicator == 1
    assert getattr(properties, "MessageExpiryInterval", None) == expiry
    assert getattr(properties, "CorrelationData", None) == correlation


@given(st.integers(0, 268_435_455))
def test_variable_byte_integers_are_minimal(value):
    """The same bytes as the library's encoder, at most four."""
    assert packed.varint(value) == VariableByteIntegers.encode(value)


@pytest.mark.parametrize("value", [-1, 268_435_456])
def test_what_no_varint_can_say_is_refused(value):
    """A packet beyond the protocol's limit is an error here, not a broken stream."""
    with pytest.raises(ValueError, match="does not fit"):
        packed.varint(value)
