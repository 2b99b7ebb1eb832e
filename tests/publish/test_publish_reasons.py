"""Reason codes as a table: what a code means for a record, and what a person reads."""

from __future__ import annotations

import pytest

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish.reasons import OtherVersionError, RefusedError, outcome, remedy, words


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0x00, "delivered"), (0x10, "unheard"), (0x80, "again"), (0x83, "again"), (0x97, "again"), (0x91, "again"), (0xFF, "again"),
     (0x87, "again"), (0x90, "never"), (0x95, "never"), (0x99, "never")],
)  # fmt: skip
def test_what_an_acknowledgement_means(code, expected):
    """Success finishes, some codes are for ever, everything else may change."""
    assert outcome(code) == expected


def test_every_failure_code_is_no_delivery():
    """No code from 0x80 on is ever taken for a success."""
    assert not {outcome(code) for code in range(0x80, 0x100)} & {"delivered", "unheard"}


def test_words_quote_hostile_text_safely():
    """A broker's own text cannot break lines or colours of a log."""
    assert words(0x87, "no\r\n\x1b[31mACL") == "not authorised (0x87, 'no\\r\\n\\x1b[31mACL')"
    assert words(0xEE) == "unknown reason (0xEE)"
    assert remedy(0x8E) == "; another client uses the same client_id; give each agent its own"
    assert remedy(0x00) == ""


def test_a_refusal_is_a_lost_connection_for_the_link():
    """The link reopens after a refusal like after any loss; ``slow`` tells how eagerly."""
    assert isinstance(OtherVersionError("x"), RefusedError)
    assert isinstance(RefusedError("x"), DisconnectedError)
    assert RefusedError("x", code=0x86).slow
    assert not RefusedError("x", code=0x97).slow


def test_a_refused_connection_and_a_refused_message_have_remedies_of_their_own():
    """0x87 at CONNECT is about who we are (mosquitto says it for a wrong password), at PUBLISH about the access list."""
    assert "check username and password_file" in remedy(0x87, connecting=True)
    assert "access list must let this user write" in remedy(0x87)
    assert remedy(0x8A, connecting=True) == remedy(0x8A)
