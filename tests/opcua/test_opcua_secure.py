"""Connections that are secured, against asyncua servers: every policy and mode, every kind of user, and everything that must be refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import opcua_secure as fit
import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.common.utils import ServiceError
from cryptography.hazmat.primitives import serialization
from opcua_plant import FAST, Reader, WallClock
from structlog.testing import capture_logs

from edge_agent.agent.collect import Collector
from edge_agent.agent.link import Link, keep_open
from edge_agent.drivers.opcua import channel
from edge_agent.drivers.opcua.certificate import UntrustedError
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.driver import connect
from edge_agent.model.errors import DisconnectedError
from edge_agent.model.reading import Batch, DeviceFault, DeviceUp

POLICIES = ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plc() -> AsyncIterator[fit.SecurePlc]:
    """The server of all tests here, not started; its loop has the one thread that files are read in."""
    with ThreadPoolExecutor(1) as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        await asyncio.to_thread(int)
        server = fit.SecurePlc()
        await server.build()
        yield server


@contextlib.asynccontextmanager
async def reading(config: OpcUaConfig, tmp_path: Path) -> AsyncIterator[Reader]:
    """Connect as agent ``gw1`` whose keys lie below ``tmp_path``."""
    async with asyncio.timeout(30), connect([config], WallClock(), {}, FAST, identity=fit.identity(tmp_path)) as driver:
        yield Reader(driver)


async def refused(config: OpcUaConfig, tmp_path: Path) -> UntrustedError:
    """Return why a connection is refused until a person acts."""
    with pytest.raises(UntrustedError) as caught:
        async with reading(config, tmp_path):
            pass
    assert caught.value.slow
    return caught.value


async def test_every_policy_and_mode_reads_and_follows_values(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """Six kinds of channel give the baseline and a change of it, over the endpoint that was asked for."""
    async with plc.serving(fit.EVERYTHING):
        fit.pinned(tmp_path, plc.url, plc.certificate)
        for number, (policy, mode) in enumerate((policy, mode) for policy in POLICIES for mode in ("Sign", "SignAndEncrypt")):
            async with reading(plc.config(security={"policy": policy, "mode": mode}), tmp_path) as reader:
                await reader.settled(plc)
                await plc.write("CanaryTag", 100 + number)
                await reader.until(lambda r, wanted=100 + number: wanted in r.values("count"))
                used = reader.driver._session.client.security_policy
                assert used.URI == channel.POLICIES[policy].URI
                assert used.Mode == channel.MODES[mode]
                assert used.symmetric_cryptography.is_encrypted == (mode == "SignAndEncrypt")


async def test_a_user_with_a_password(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """The right password opens the session, under every policy; a wrong one is refused slowly, and stands in no word about it."""
    users = fit.Users(anonymous=False)
    async with plc.serving(fit.EVERYTHING, users):
        fit.pinned(tmp_path, plc.url, plc.certificate)
        for policy in POLICIES:
            config = plc.config(username="reader", password="geheim", security={"policy": policy})
            async with reading(config, tmp_path) as reader:
                await reader.once()
        assert users.seen == ["reader"] * 3
        error = await refused(plc.config(username="reader", password="falsch1234"), tmp_path)
        assert error.fault == "user_rejected"
        assert "falsch1234" not in f"{error!r} {error} {error.__cause__!r}"
        assert (await refused(plc.config(), tmp_path)).fault == "user_rejected"


@pytest.fixture(autouse=True)
def _nothing_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests have the same address: a session that an earlier one left there would be closed, by its user, in the next."""
    monkeypatch.setattr("edge_agent.drivers.opcua.orphan._left", {})


async def test_a_user_with_a_certificate(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """The user's certificate and key come from files; the server gets the certificate and a signature by the key."""
    made = fit.certificate(fit.key("user"), uris=(), extended=(), name="operator")
    (tmp_path / "user.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "user.key").write_bytes(fit.key_bytes(fit.key("user")))
    (tmp_path / "user.key").chmod(0o600)
    users = fit.Users(anonymous=False)
    users.certificates = [fit.der(made)]
    async with plc.serving(users=users):
        fit.pinned(tmp_path, plc.url, plc.certificate)
        config = plc.config(user_certificate=str(tmp_path / "user.pem"), user_key=str(tmp_path / "user.key"))
        async with reading(config, tmp_path) as reader:
            await reader.once()
        assert users.seen == ["certificate"]
        (tmp_path / "user.key").chmod(0o644)
        error = await refused(config, tmp_path)
        assert (error.fault, "chmod 600" in error.remedy) == ("user_certificate", True)


async def test_nobody_has_trusted_the_server_yet(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """A first contact is refused with the thumbprint and the one command that begins trust; it creates the agent's certificate."""
    async with plc.serving():
        error = await refused(plc.config(), tmp_path)
        assert error.fault == "cert_untrusted"
        assert error.remedy == f"edge-agent trust {plc.url} -c {tmp_path / 'config'} --pki {tmp_path / 'pki'}"
        assert fit.ours(plc.certificate).thumbprint in str(error)


async def test_a_changed_certificate_stops_the_device_until_it_is_pinned_as_the_next(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """Another certificate is `cert_changed`; pinned as the next one it is accepted, the current one stays trusted, a third is not."""
    second = fit.certificate(fit.key("second"))
    async with plc.serving():
        first = plc.certificate
        fit.pinned(tmp_path, plc.url, first)
        async with reading(plc.config(), tmp_path) as reader:
            await reader.once()
    async with plc.serving(made=second, private=fit.key("second")):
        error = await refused(plc.config(), tmp_path)
        assert error.fault == "cert_changed"
        assert fit.ours(first).thumbprint in str(error)
        assert fit.ours(second).thumbprint in str(error)
        fit.pinned(tmp_path, plc.url, second, "next")
        async with reading(plc.config(), tmp_path) as reader:
            await reader.once()
        fit.pinned(tmp_path, plc.url, fit.certificate(fit.key("third")), "next")
        assert (await refused(plc.config(), tmp_path)).fault == "cert_changed"


async def test_the_device_comes_back_by_itself_once_a_person_has_acted(
    plc: fit.SecurePlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the agent a changed certificate is one fault, tried slowly with the pins read anew; the next pin clears it. No log names a password."""
    monkeypatch.setattr("edge_agent.agent.link._SLOW", 0.05)
    batches: list[Batch] = []
    tries = 0

    async def deliver(batch: Batch) -> None:
        batches.append(batch)
        if any(isinstance(notice, DeviceUp) for notice in batch.before):
            collector.stop()

    async def lost(error: DisconnectedError) -> None:
        nonlocal tries
        tries += 1
        await collector.lost(error)
        if tries == 3:
            fit.pinned(tmp_path, plc.url, second, "next")

    second = fit.certificate(fit.key("second"))
    config = plc.config(username="reader", password="geheim")
    fit.pinned(tmp_path, plc.url, fit.certificate())
    collector = Collector(["plc"], {"plc": [deliver]}, WallClock())
    async with plc.serving(made=second, private=fit.key("second")):
        with capture_logs() as logs:
            async with asyncio.timeout(20):
                await keep_open(
                    Link("plc", "device"),
                    lambda: connect([config], WallClock(), {}, FAST, identity=fit.identity(tmp_path)),
                    collector.run,
                    lost,
                    lambda: iter([60.0]),
                )
    faults = [
        (one.code, one.ok)
        for batch in batches
        for one in batch.after
        if isinstance(one, DeviceFault) and one.code == "cert_changed"
    ]
    assert faults == [("cert_changed", False), ("cert_changed", True)]
    assert [line["event"] for line in logs if line["event"].startswith("link.")].count("link.down") == 1
    assert "geheim" not in repr(logs)
    told = [one for batch in batches for one in batch.after if isinstance(one, DeviceFault) and one.code == "cert_next"]
    assert [one.ok for one in told] == [False]


async def test_pins_in_the_configuration_rule_alone(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """A pin of the configuration is enough, two are allowed, and where there are some the trust folder is not asked."""
    async with plc.serving():
        good, bad = fit.ours(plc.certificate).thumbprint.upper(), "ab" * 32
        async with reading(plc.config(security={"pins": [bad, good]}), tmp_path) as reader:
            await reader.once()
        fit.pinned(tmp_path, plc.url, plc.certificate)
        error = await refused(plc.config(security={"pins": [bad]}), tmp_path)
        assert (error.fault, "security.pins of plc" in error.remedy) == ("cert_changed", True)


BAD = {
    "expired": ({"days": (-10, -1)}, 2048, "cert_expired"),
    "not yet valid": ({"days": (1, 10)}, 2048, "cert_not_yet_valid"),
    "short key": ({}, 1024, "cert_invalid"),
    "another application": ({"uris": ("urn:test:other",)}, 2048, "cert_invalid"),
    "no application": ({"uris": ()}, 2048, "cert_invalid"),
    "may not sign": ({"usage": {"digital_signature": False, "content_commitment": False}}, 2048, "cert_invalid"),
    "a client's": ({"extended": (fit.ExtendedKeyUsageOID.CLIENT_AUTH,)}, 2048, "cert_invalid"),
}


async def test_certificates_that_are_pinned_and_still_no_good(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """A pin says who it is, not that it is in order: time, key length, application and usage are checked on each connect."""
    for name, (make, bits, code) in BAD.items():
        private = fit.key(f"bad{bits}", bits)
        async with plc.serving(made=fit.certificate(private, **make), private=private):
            fit.pinned(tmp_path, plc.url, plc.certificate)
            error = await refused(plc.config(), tmp_path)
            assert (name, error.fault) == (name, code)
            if name == "expired":
                async with reading(plc.config(security={"allow_expired": True}), tmp_path) as reader:
                    await reader.once()


async def test_a_server_that_offers_only_less_is_refused(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """None, only signed, or another policy than configured: never a silent downgrade, and the words say what is offered."""
    offers = {
        "None": [ua.SecurityPolicyType.NoSecurity],
        "Basic256Sha256/Sign": [ua.SecurityPolicyType.Basic256Sha256_Sign],
        "Aes256Sha256RsaPss/SignAndEncrypt": [ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt],
    }
    for words, policies in offers.items():
        async with plc.serving(policies):
            fit.pinned(tmp_path, plc.url, plc.certificate)
            if words == "None":
                plc.server.iserver.endpoints[0].ServerCertificate = fit.der(plc.certificate)
            error = await refused(plc.config(), tmp_path)
            assert error.fault == "no_secure_endpoint"
            assert words in str(error)


async def test_a_server_that_does_not_know_the_agent(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """Its refusal of our certificate is told with the file that it has to trust, and is not tried again at once."""

    async def unknown(certificate: Any, description: Any) -> None:
        raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    async with plc.serving():
        fit.pinned(tmp_path, plc.url, plc.certificate)
        plc.server.set_certificate_validator(unknown)
        error = await refused(plc.config(), tmp_path)
        assert (error.fault, str(tmp_path / "pki/own/certificate.der") in error.remedy) == ("agent_rejected", True)


async def test_the_server_sees_the_agents_identity(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """The application URI comes from the agent's id, stands in its certificate, and is what the session says."""
    seen = []

    async def look(certificate: Any, description: Any) -> None:
        names = certificate.extensions.get_extension_for_class(fit.x509.SubjectAlternativeName).value
        seen.append((description.ApplicationUri, names.get_values_for_type(fit.x509.UniformResourceIdentifier)))

    async with plc.serving():
        fit.pinned(tmp_path, plc.url, plc.certificate)
        plc.server.set_certificate_validator(look)
        for _ in range(2):
            async with reading(plc.config(), tmp_path) as reader:
                await reader.once()
    assert seen == [("urn:edge-agent:gw1", ["urn:edge-agent:gw1"])] * 2


async def test_a_server_in_another_application_is_no_server_of_ours(
    plc: fit.SecurePlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What discovery said is nothing: the description that comes over the secured channel must be the certificate's, before a user is named."""
    users = fit.Users()
    async with plc.serving(users=users):
        fit.pinned(tmp_path, plc.url, plc.certificate)
        offers = await channel.discover(plc.url, 5.0)

        async def discover(url: str, within: float) -> list[Any]:
            return offers

        monkeypatch.setattr(channel, "discover", discover)
        for endpoint in plc.server.iserver.endpoints:
            endpoint.Server.ApplicationUri = "urn:test:impostor"
        error = await refused(plc.config(username="reader", password="geheim"), tmp_path)
        assert (error.fault, "urn:test:impostor" in str(error)) == ("cert_invalid", True)
        assert users.seen == []


async def test_a_session_whose_certificate_nobody_looked_at_is_refused(
    plc: fit.SecurePlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library does not ask the validator, the session is closed: it fails closed."""
    async with plc.serving():
        fit.pinned(tmp_path, plc.url, plc.certificate)

        async def skip(self: Any, certificate: Any, application: Any) -> None:
            return None

        monkeypatch.setattr(channel.Validator, "__call__", skip)
        assert (await refused(plc.config(), tmp_path)).fault == "cert_invalid"


async def test_the_key_behind_the_certificate_is_what_counts(plc: fit.SecurePlc, tmp_path: Path) -> None:
    """An impostor that shows the pinned certificate without its key opens no channel; that is a lost connection, not trust."""
    async with plc.serving(private=fit.key("impostor")):
        fit.pinned(tmp_path, plc.url, plc.certificate)
        with pytest.raises(DisconnectedError) as caught:
            async with reading(plc.config(timeout="300ms"), tmp_path):
                pass
        assert not isinstance(caught.value, UntrustedError)


@pytest.mark.parametrize("skew", [0, -90_000])
async def test_a_channel_is_renewed_and_one_that_cannot_be_ends_the_connection(
    plc: fit.SecurePlc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    """Values go on over renewals, whatever the server's clock says; when a renewal fails the reader gets a DisconnectedError."""
    real = fit.datetime

    class Skewed(real):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) + fit.timedelta(seconds=skew)

    async with plc.serving():
        fit.pinned(tmp_path, plc.url, plc.certificate)
        monkeypatch.setattr("asyncua.client.client.Client.__init__", _short_lived())
        if skew:
            monkeypatch.setattr("asyncua.common.connection.SecureConnection.open", _created_at(Skewed))
        async with reading(plc.config(), tmp_path) as reader:
            await reader.settled(plc)
            protocol = reader.driver._session.client.uaclient.protocol
            before = protocol._connection.security_token.TokenId
            async with asyncio.timeout(8):
                for value in range(1000):
                    await plc.write("CanaryTag", value)
                    await reader.until(lambda r, value=value: value in r.values("count"))
                    if protocol._connection.security_token.TokenId >= before + 2:
                        break
            monkeypatch.setattr(type(reader.driver._session.client.uaclient), "open_secure_channel", _fails)
            with pytest.raises(DisconnectedError):
                await reader.until(lambda r: False)


async def _fails(self: Any, params: Any) -> Any:
    raise ua.UaError("no token for you")


def _short_lived() -> Any:
    from asyncua.client.client import Client

    original = Client.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        original(self, *args, **named)
        self.secure_channel_timeout = 1000

    return init


def _created_at(clock: Any) -> Any:
    from asyncua.common.connection import SecureConnection

    original = SecureConnection.open

    def open_(self: Any, params: Any, server: Any) -> Any:
        response = original(self, params, server)
        response.SecurityToken.CreatedAt = clock.now(fit.UTC)
        return response

    return open_
