"""What an agent knows of itself: its loop, its disk, the end of its certificates."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from agent_bench import turns, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from edge_agent.agent import vitals as room
from edge_agent.agent.vitals import Vitals, ends, process


def certificate(days: float) -> x509.Certificate:
    """Return a certificate that ends in so many days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gw1")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    made = made.not_valid_before(now - timedelta(days=400)).not_valid_after(now + timedelta(days=days))
    return made.sign(key, hashes.SHA256())


def pem(*days: float) -> bytes:
    """Return a file of certificates."""
    return b"".join(certificate(each).public_bytes(serialization.Encoding.PEM) for each in days)


def test_the_first_certificate_of_a_file_to_end_counts() -> None:
    """A bundle of authorities is as old as its oldest; DER is read as well as PEM."""
    assert abs(ends(pem(40.0, 10.0, 90.0)) - time.time() - 10 * 86_400) < 60
    assert abs(ends(certificate(3.0).public_bytes(serialization.Encoding.DER)) - time.time() - 3 * 86_400) < 60
    with pytest.raises(ValueError, match="parsing"):
        ends(b"nonsense")


async def test_the_first_look_finds_disk_and_certificates(tmp_path: Path) -> None:
    """Days left are whole days, below 0 when it is over; a missing file says nothing, a broken one is told to the log once."""
    files = {name: tmp_path / name for name in ("mqtt", "opcua own", "device plc1", "later")}
    files["mqtt"].write_bytes(pem(30.5))
    files["opcua own"].write_bytes(pem(-1.5))
    files["device plc1"].write_bytes(b"nonsense")
    vitals = Vitals(tmp_path, files)
    with capture_logs() as logs:
        running = asyncio.create_task(vitals.run())
        await until(lambda: vitals.ends)
        vitals._ends()
        running.cancel()
        await asyncio.wait([running])
    assert vitals.days() == {"mqtt": 30, "opcua own": -2}
    assert vitals.disk is not None
    assert 0 < vitals.disk.free <= vitals.disk.size
    assert [(log["event"], log["certificate"]) for log in logs] == [("certificate.not_readable", "device plc1")]


async def test_a_loop_that_was_held_up_shows_how_late_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The greatest lateness of the last looks stays until they are over."""
    monkeypatch.setattr(room, "_LOOK", 0.01)
    vitals = Vitals(tmp_path / "gone", {})
    running = asyncio.create_task(vitals.run())
    await until(lambda: vitals._lags)
    time.sleep(0.2)  # noqa: ASYNC251 - what holds the loop up
    await turns(50)
    await until(lambda: vitals.lag > 0.1)
    running.cancel()
    await asyncio.wait([running])
    assert vitals.disk is None


def test_the_process_knows_itself() -> None:
    """Memory, processor time, files and start are plausible figures of this very process."""
    found = process()
    assert found.resident > 1 << 20
    assert found.cpu > 0
    assert found.files >= 3
    assert 0 < found.started <= time.time()
