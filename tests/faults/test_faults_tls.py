"""F38 and F42: certificates that are wrong or change, and names that are not found or mean another address."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time
from pathlib import Path

import pytest
import trustme
from fault_bench import DETECTION, Bench, bench, until
from fault_links import Front

from simulators.faults import Link

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]

DOWN = 2.0


def expired(front: Front) -> ssl.SSLContext:
    """A certificate of yesteryear."""
    return front.context(not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


def another_host(front: Front) -> ssl.SSLContext:
    """A certificate for somebody else."""
    return front.context(name="other.example")


def unknown_ca(front: Front) -> ssl.SSLContext:
    """A certificate of nobody we know."""
    return front.context(trustme.CA(key_type=trustme.KeyType.ECDSA))


def old_tls(front: Front) -> ssl.SSLContext:
    """A good certificate, but TLS 1.1 only."""
    context = front.context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def says(made: Bench, words: str, seen: int) -> None:
    """Wait until the agent's log names the reason."""
    await until(lambda: any(words in reason for reason in made.downs()[seen:]), DETECTION)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (expired, "certificate has expired"),
        (another_host, "IP address mismatch"),
        (unknown_ca, "unable to get local issuer certificate"),
        (old_tls, "TLS 1.2 or newer"),
    ],
)
async def test_f38_a_server_that_may_not_be_believed(tmp_path: Path, wrong: object, words: str) -> None:
    """Not one byte of MQTT reaches it, the reason is named, and with the right certificate everything arrives."""
    async with bench(tmp_path, tls=True) as made:
        assert made.front is not None
        seen, tries = len(made.downs()), len(made.connects())
        await made.front.speak(wrong(made.front))
        await says(made, words, seen)
        await asyncio.sleep(DOWN)
        assert len(made.connects()) == tries
        await made.front.speak(made.front.context())
        await made.fresh()
        await made.finish()


async def test_f38_a_ca_that_is_replaced_on_disk(tmp_path: Path) -> None:
    """The plant gets a new CA: the agent refuses the broker's new certificate until the file is replaced, and needs no restart then."""
    async with bench(tmp_path, tls=True) as made:
        assert made.front is not None
        new = trustme.CA(key_type=trustme.KeyType.ECDSA)
        seen, process = len(made.downs()), made.agent.pid
        await made.front.speak(made.front.context(new))
        await says(made, "unable to get local issuer certificate", seen)
        new.cert_pem.write_to_path(made.front.ca_file)
        await made.fresh()
        assert made.agent.pid == process
        await made.finish()


async def test_f38_files_that_are_replaced_while_all_is_well(tmp_path: Path) -> None:
    """Both CAs in the file ahead of the change: the agent connects anew by itself with nothing lost or sent twice, and the change is no event."""
    async with bench(tmp_path, tls=True) as made:
        assert made.front is not None
        new = trustme.CA(key_type=trustme.KeyType.ECDSA)
        tries = len(made.connects())
        made.front.ca_file.write_bytes(made.front.authority.cert_pem.bytes() + new.cert_pem.bytes())
        await until(lambda: len(made.connects()) > tries, DETECTION)
        assert any(line["event"] == "link.renewed" for line in made.log())
        await made.front.speak(made.front.context(new))
        await made.fresh()
        await made.finish()


# -- names -------------------------------------------------------------------------------------------------------------

RESOLVER = """
import os, socket, time
_real = socket.getaddrinfo
def getaddrinfo(host, *rest, **more):
    if host == "broker.test":
        host = open(os.environ["FAULT_NAMES"]).read()
        if host == "fails":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host == "hangs":
            time.sleep(30)
    return _real(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def resolver(folder: Path) -> dict[str, str]:
    """Return the environment in which the agent asks a name server of ours, whose answer stands in the file ``names``."""
    (folder / "stub").mkdir()
    (folder / "stub" / "sitecustomize.py").write_text(RESOLVER)
    (folder / "names").write_text("127.0.0.1")
    return {"PYTHONPATH": str(folder / "stub"), "FAULT_NAMES": str(folder / "names")}


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_f42_a_name_server_that_is_away(tmp_path: Path, trouble: str) -> None:
    """The last good address is used, in time, and the log says so; polling does not wait for a resolver that hangs."""
    async with bench(tmp_path, host="broker.test", environment=resolver(tmp_path)) as made:
        (tmp_path / "names").write_text(trouble)
        await made.fault("drop")
        begin = time.monotonic()
        await made.fresh()
        print(f"back after {time.monotonic() - begin:.1f} s")
        assert any(line["event"] == "mqtt.name_remembered" for line in made.log())
        await made.finish()


async def test_f42_a_broker_that_has_moved(tmp_path: Path) -> None:
    """The name means another address from now on, and the old one is dead: the next try goes to the new one."""
    async with bench(tmp_path, host="broker.test", environment=resolver(tmp_path)) as made:
        moved = Link("127.0.0.2", made.link.port, made.link._target)
        await moved.listen()
        try:
            (tmp_path / "names").write_text("127.0.0.2")
            await made.link.cut()
            await made.fresh()
            await made.finish()
        finally:
            await moved.close()
