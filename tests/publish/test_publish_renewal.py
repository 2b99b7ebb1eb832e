"""Certificates replaced while running: a new connection between two records, none lost and none doubled."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from publish_fake_broker import Counting, FakeBroker, outcomes_of, until
from structlog.testing import capture_logs

from edge_agent.model.errors import DisconnectedError
from edge_agent.publish import renewal
from edge_agent.publish.reasons import RenewedError

CA = trustme.CA(key_type=trustme.KeyType.ECDSA)


def _issue(folder: Path, name: str) -> None:
    own = CA.issue_cert(common_name=name, key_type=trustme.KeyType.ECDSA)
    own.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    own.private_key_pem.write_to_path(folder / "key.pem")


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Return the tls block of an agent with a certificate of its own, looked at every 30 ms."""
    monkeypatch.setattr(renewal, "_LOOK", 0.03)
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    _issue(tmp_path, "old")
    return {"ca": str(tmp_path / "ca.pem"), "cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}


def _server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    CA.configure_trust(context)
    return context


def _peer(broker: FakeBroker) -> str:
    assert broker.writer is not None
    return broker.writer.get_extra_info("peercert")["subject"][-1][0][1]


async def _drain(sink, record, left: list[int]) -> None:
    """Send ``left`` in groups; what is acknowledged leaves the list, also when the connection ends."""
    while left:
        group = left[:30]
        outcomes = await outcomes_of(sink, [record(number) for number in group])
        for number, outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                left.remove(number)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome


async def test_a_new_certificate_is_used_without_losing_or_doubling_a_record(open_sink, record, pair, tmp_path):
    """What is in flight is answered, nothing new leaves, and the next connection shows the new certificate."""
    async with FakeBroker(tls=_server(), answer=Counting()) as broker:
        left = list(range(1, 1001))
        async with open_sink(broker.port, tls=pair, window=10) as sink:
            assert _peer(broker) == "old"
            asyncio.get_running_loop().call_later(0.05, _issue, tmp_path, "new")
            with pytest.raises(RenewedError, match="certificates or password were replaced"):
                await _drain(sink, record, left)
        assert 0 < len(left) < 1000
        async with open_sink(broker.port, tls=pair, window=10) as sink:
            assert _peer(broker) == "new"
            await _drain(sink, record, left[:100])
        arrived = [int(seen.user["sequence"]) for seen in broker.published]
        assert arrived == list(range(1, len(arrived) + 1))


async def test_files_that_do_not_work_leave_the_connection_alone(open_sink, record, pair, tmp_path):
    """A certificate without its key is a warning, once; when the key comes too, the connection is renewed."""
    async with FakeBroker(tls=_server()) as broker, open_sink(broker.port, tls=pair) as sink:
        key = (tmp_path / "key.pem").read_bytes()
        with capture_logs() as logs:
            _issue(tmp_path, "new")
            new_key = (tmp_path / "key.pem").read_bytes()
            (tmp_path / "key.pem").write_bytes(key)
            await until(lambda: logs)
            await asyncio.sleep(0.2)
            assert [line["event"] for line in logs] == ["mqtt.files_unusable"]
            assert "tls.cert" in str(logs[0]["reason"])
            await sink.publish(record(1))
        (tmp_path / "key.pem").write_bytes(new_key)
        with pytest.raises(RenewedError):
            await asyncio.wait_for(sink.request(), 5)
        with pytest.raises(RenewedError):
            await sink.publish(record(2))
        assert len(broker.published) == 1


async def test_a_file_that_is_replaced_by_a_link_counts_and_a_touch_of_another_does_not(open_sink, pair, tmp_path):
    """Secrets are often swapped by a symbolic link; files that are not named do not matter."""
    async with FakeBroker(tls=_server()) as broker, open_sink(broker.port, tls=pair) as sink:
        (tmp_path / "other.pem").write_text("x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sink.request(), 0.2)
        (tmp_path / "next").mkdir()
        CA.cert_pem.write_to_path(tmp_path / "next" / "ca.pem")
        (tmp_path / "link").symlink_to(tmp_path / "next" / "ca.pem")
        (tmp_path / "link").rename(tmp_path / "ca.pem")
        with pytest.raises(RenewedError):
            await asyncio.wait_for(sink.request(), 5)


async def test_a_broker_that_does_not_answer_any_more_does_not_hold_the_renewal(open_sink, record, pair, tmp_path):
    """What is in flight is waited for as long as an acknowledgement may take."""
    async with (
        FakeBroker(tls=_server(), answer=lambda *_: ()) as broker,
        open_sink(broker.port, tls=pair, ack_timeout="400ms") as sink,
    ):
        _issue(tmp_path, "new")
        with pytest.raises(DisconnectedError, match="has not acknowledged"):
            await asyncio.wait_for(sink.publish(record(1)), 5)
