"""Certificates, pins, authorities and the agent's own key, without a server; and that nothing leaves unprotected whatever a server offers."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import opcua_secure as fit
import pytest
from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from opcua_plant import FAST, WallClock
from pydantic import ValidationError

from edge_agent.drivers.opcua import authority, expiry, keys, pins
from edge_agent.drivers.opcua.admission import Admitted, Offer, admit, chosen
from edge_agent.drivers.opcua.certificate import Certificate, UntrustedError, judge, read
from edge_agent.drivers.opcua.channel import Secured
from edge_agent.drivers.opcua.config import OpcUaConfig, link
from edge_agent.drivers.opcua.discover import POLICIES
from edge_agent.drivers.opcua.driver import connect
from edge_agent.drivers.opcua.guard import DISCOVERY, READING, Guard
from edge_agent.drivers.opcua.policy import cautions, pin
from edge_agent.model.errors import DisconnectedError
from edge_agent.ports import Identity

NOW = datetime.now(UTC)
URL = "opc.tcp://127.0.0.1:4840"

# -- configuration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"allow_insecure": True, "username": "u", "password": "p"}, "readable by anyone"),
        ({"allow_insecure": True, "user_certificate": "c", "user_key": "k"}, "proves nothing"),
        ({"allow_insecure": True, "security": {}}, "no security at all"),
        ({"username": "u"}, "belong together"),
        ({"password": "p"}, "belong together"),
        ({"user_key": "k"}, "belong together"),
        ({"username": "u", "password": "p", "user_certificate": "c", "user_key": "k"}, "one connection has one user"),
        ({"username": "u", "password": "p", "security": {"mode": "Sign"}}, "only signed is readable"),
        ({"username": "u", "password": "x" * 129}, "more than 128 bytes"),
        ({"security": {"policy": "Basic256"}}, "allow_deprecated: true"),
        ({"security": {"policy": "Basic128Rsa15"}}, "allow_deprecated: true"),
        ({"security": {"policy": "None"}}, "Input should be"),
        ({"security": {"mode": "None"}}, "Input should be"),
        ({"security": {"trust": "any"}}, "Input should be"),
        ({"security": {"trust": "ca", "pins": ["ab" * 32]}}, "remove pins"),
        ({"security": {"trust": "ca", "allow_expired": True}}, "allow_expired is for"),
        ({"security": {"server_uri": "urn:x"}}, "server_uri is for trust: ca"),
        ({"security": {"pins": ["ab" * 32] * 3}}, "at most 2"),
        ({"security": {"pins": ["ab" * 20]}}, "SHA-1 thumbprint"),
        ({"security": {"pins": ["no"]}}, "no SHA-256 thumbprint"),
    ],
)
def test_an_unsafe_configuration_is_refused(more: dict[str, Any], said: str) -> None:
    """What would be weaker than it looks is refused before anything is connected, and no word names a password."""
    with pytest.raises(ValidationError, match=said):
        fit.secure_config(1, **more)


def test_what_is_risky_is_told() -> None:
    """Each weakness that a user allows is one sentence with a remedy; the default has none."""
    assert cautions(fit.secure_config(1)) == ()
    for more, said in (
        ({"allow_insecure": True}, "allow_insecure"),
        ({"security": {"mode": "Sign"}}, "mode: Sign"),
        ({"security": {"policy": "Basic256", "allow_deprecated": True}}, "can be broken"),
        ({"security": {"allow_expired": True}}, "allow_expired"),
    ):
        (told,) = cautions(fit.secure_config(1, **more))
        assert said in told
        assert told.startswith("device plc: ")
        assert "; " in told


def test_devices_share_a_connection_only_when_it_is_secured_alike() -> None:
    """Another policy, pin, password or allow_insecure is another connection: none is carried by a weaker one's."""
    ways: list[dict[str, Any]] = [
        {}, {"allow_insecure": True}, {"security": {"mode": "Sign"}}, {"security": {"pins": ["ab" * 32]}},
        {"username": "u", "password": "p"}, {"username": "u", "password": "q"}, {"user_certificate": "c", "user_key": "k"},
    ]  # fmt: skip
    assert len({link(fit.secure_config(1, **more)) for more in ways}) == len(ways)
    assert link(fit.secure_config(1)) == link(fit.secure_config(1, device="other", sampling="1s"))


def test_a_password_stands_in_no_text() -> None:
    """Neither the configuration's text nor its JSON, which becomes the fingerprint, shows it."""
    config = fit.secure_config(1, username="u", password="canary-geheim")
    assert "canary" not in f"{config!r} {config} {config.model_dump_json()} {cautions(config)}"


@given(st.binary(min_size=32, max_size=32), st.sampled_from([":", " ", "", "-"]), st.booleans())
def test_pins_are_read_however_tools_write_them(digest: bytes, between: str, capitals: bool) -> None:
    """Colons, blanks, dashes and capitals make no difference."""
    text = digest.hex(between) if between else digest.hex()
    assert pin(text.upper() if capitals else text) == digest.hex()


# -- certificates ------------------------------------------------------------------------------------------------


def test_a_good_certificate_is_judged_good() -> None:
    """The judgement returns the application that the certificate is for."""
    assert judge(fit.ours(fit.certificate()), uri=fit.SERVER_URI, now=NOW) == fit.SERVER_URI


def test_a_certificate_without_usages_is_left_to_its_pin() -> None:
    """Many PLCs leave the extended key usage out; that forbids nothing (RFC 5280, 4.2.1.12)."""
    assert judge(fit.ours(fit.certificate(extended=())), uri=None, now=NOW) == fit.SERVER_URI


@given(st.integers(-200, 200), st.integers(-200, 200))
@settings(deadline=None, max_examples=30)
def test_the_time_of_a_certificate_is_its_validity(begin: int, length: int) -> None:
    """Before its beginning and after its end a certificate is refused, whatever else is in order; allow_expired lifts the end alone."""
    ends = begin + abs(length) + 1
    made = fit.ours(fit.certificate(days=(begin - 0.5, ends - 0.5)))
    valid = begin <= 0 < ends  # half a day between any two instants
    for expired in (False, True):
        if valid or (expired and ends <= 0):
            judge(made, uri=None, now=NOW, allow_expired=expired)
        else:
            with pytest.raises(UntrustedError):
                judge(made, uri=None, now=NOW, allow_expired=expired)


@given(st.binary(max_size=300))
def test_garbage_is_no_certificate(data: bytes) -> None:
    """Whatever a server sends as certificate is read or raises ValueError, nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is the answer
        read(data)


@given(st.integers(0, 900), st.integers(0, 255))
@settings(deadline=None)
def test_a_damaged_certificate_is_never_the_pinned_one(at: int, byte: int) -> None:
    """One byte changed anywhere: unreadable, or another thumbprint."""
    whole = fit.der(_fixed())
    damaged = bytearray(whole)
    damaged[at % len(whole)] = byte
    try:
        found = read(bytes(damaged))[0]
    except ValueError:
        return
    assert (found.thumbprint == fit.ours(_fixed()).thumbprint) == (bytes(damaged) == whole)


def _fixed(made: list[x509.Certificate] = []) -> x509.Certificate:  # noqa: B006 - one for all examples
    if not made:
        made.append(fit.certificate())
    return made[0]


def test_a_chain_is_read_whole_in_both_forms() -> None:
    """The owner's certificate comes first, its authorities behind it, as DER one behind the other or as PEM."""
    first, second = fit.certificate(), fit.certificate(fit.key("second"))
    pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (first, second))
    assert read(fit.der(first) + fit.der(second)) == read(pem) == [fit.ours(first), fit.ours(second)]


# -- admission ---------------------------------------------------------------------------------------------------


def _offer(
    made: x509.Certificate, policy: str = "Basic256Sha256", mode: str = "SignAndEncrypt", uri: str = fit.SERVER_URI
) -> Offer:
    return Offer(policy, mode, fit.der(made), uri)


OFFERS = st.builds(
    Offer, st.sampled_from([*POLICIES, "None", "nothing", "Basic256Sha256_x"]), st.sampled_from(["None", "Sign", "SignAndEncrypt", "0"]),
    st.just(b""), st.just(""),
)  # fmt: skip


@given(st.lists(OFFERS, max_size=12), st.sampled_from(list(POLICIES)), st.sampled_from(["Sign", "SignAndEncrypt"]))
def test_only_exactly_the_configured_endpoint_is_taken(offers: list[Offer], policy: str, mode: str) -> None:
    """Whatever is offered: the endpoint has the configured policy and mode, or there is none."""
    config = fit.secure_config(1, security={"policy": policy, "mode": mode, "allow_deprecated": True})
    if any((offer.policy, offer.mode) == (policy, mode) for offer in offers):
        taken = chosen(offers, config)
        assert (taken.policy, taken.mode) == (policy, mode)
    else:
        with pytest.raises(UntrustedError) as caught:
            chosen(offers, config)
        assert caught.value.fault == "no_secure_endpoint"


def test_pins_belong_to_one_address(tmp_path: Path) -> None:
    """Every spelling of an address has the same pins; another host, port or path has others."""
    one = pins.place(tmp_path, "opc.tcp://Plc-1:4840/")
    assert one == pins.place(tmp_path, "opc.tcp://plc-1") == tmp_path / "trusted" / "plc-1_4840"
    others = {
        pins.place(tmp_path, f"opc.tcp://{rest}") for rest in ("plc-1:4841", "plc-2", "plc-1/a", "plc-1/b", "[::1]", "..", "1--1")
    }
    assert len(others | {one}) == 8
    assert all(other.parent == one.parent for other in others)


def test_a_trust_folder_that_cannot_be_read_trusts_nobody(tmp_path: Path) -> None:
    """Garbage in a pin's file refuses the connection, even when the other pin would match."""
    config, made = fit.secure_config(4840), fit.certificate()
    fit.pinned(tmp_path, URL, made, "next")
    assert admit(_offer(made), config, fit.identity(tmp_path), NOW).why == "next"
    (pins.place(tmp_path / "pki", URL) / "current.der").write_bytes(b"garbage")
    with pytest.raises(UntrustedError) as caught:
        admit(_offer(made), config, fit.identity(tmp_path), NOW)
    assert caught.value.fault == "cert_untrusted"


def test_the_next_pin_becomes_the_current_one(tmp_path: Path) -> None:
    """After promotion the old certificate is trusted no more."""
    old, new = fit.certificate(), fit.certificate(fit.key("second"))
    fit.pinned(tmp_path, URL, old)
    fit.pinned(tmp_path, URL, new, "next")
    place = pins.place(tmp_path / "pki", URL)
    pins.promote(place)
    assert pins.load(place) == (fit.ours(new), None)
    assert os.listdir(place) == ["current.der"]  # noqa: PTH208 - drafts would show here


# -- authorities -------------------------------------------------------------------------------------------------


class Pki:
    """An authority, one below it, and a folder with what is trusted."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "pki" / "ca"
        self.folder.mkdir(parents=True)
        self.root = fit.certificate(fit.key("root"), name="Root", authority=True), fit.key("root")
        self.below = fit.certificate(fit.key("below"), name="Below", authority=True, issuer=self.root), fit.key("below")
        self.put("root.pem", self.root[0])
        self.put("root.crl", fit.revocations(self.root))

    def put(self, name: str, what: x509.Certificate | x509.CertificateRevocationList) -> None:
        (self.folder / name).write_bytes(what.public_bytes(serialization.Encoding.PEM))

    def refused(self, *chain: x509.Certificate) -> UntrustedError:
        with pytest.raises(UntrustedError) as caught:
            authority.verify([fit.ours(each) for each in chain], self.folder, NOW)
        return caught.value


def test_an_authority_vouches_for_a_server(tmp_path: Path) -> None:
    """Directly, and over an authority between whose certificate the server sends; each authority needs its revocation list."""
    pki = Pki(tmp_path)
    direct, over = fit.certificate(issuer=pki.root), fit.certificate(issuer=pki.below)
    assert authority.verify([fit.ours(direct)], pki.folder, NOW) == []
    assert "no revocation list of CN=Below" in str(pki.refused(over, pki.below[0]))
    pki.put("below.crl", fit.revocations(pki.below))
    assert authority.verify([fit.ours(over), fit.ours(pki.below[0])], pki.folder, NOW) == []
    assert pki.refused(over).fault == "cert_untrusted"


def test_what_an_authority_does_not_vouch_for(tmp_path: Path) -> None:
    """Self-signed, expired, of an authority with the same name and another key, issued by what is no authority, or revoked."""
    pki = Pki(tmp_path)
    assert pki.refused(fit.certificate()).fault == "cert_untrusted"
    assert pki.refused(fit.certificate(issuer=pki.root, days=(-9, -1))).fault == "cert_untrusted"
    namesake = fit.certificate(fit.key("second"), name="Root", authority=True), fit.key("second")
    assert pki.refused(fit.certificate(issuer=namesake), namesake[0]).fault == "cert_untrusted"
    server = fit.certificate(fit.key("second"), issuer=pki.root, name="other"), fit.key("second")
    assert pki.refused(fit.certificate(issuer=server), server[0]).fault == "cert_untrusted"
    revoked = fit.certificate(issuer=pki.root)
    pki.put("root.crl", fit.revocations(pki.root, [revoked]))
    assert pki.refused(revoked).fault == "cert_revoked"


def test_revocation_lists(tmp_path: Path) -> None:
    """An outdated list counts and is told; a forged one does not count; a broken file is told; without authorities nobody is trusted."""
    pki = Pki(tmp_path)
    server = fit.certificate(issuer=pki.root)
    pki.put("root.crl", fit.revocations(pki.root, days=(-9, -1)))
    (told,) = authority.verify([fit.ours(server)], pki.folder, NOW)
    assert "out of date" in told
    pki.put("root.crl", fit.revocations((pki.root[0], fit.key("second"))))
    assert "no revocation list" in str(pki.refused(server))
    (pki.folder / "root.crl").write_bytes(b"garbage")
    assert "cannot be used" in str(pki.refused(server))
    for file in pki.folder.iterdir():
        file.unlink()
    assert "there is no authority" in str(pki.refused(server))


def test_an_authority_vouches_for_one_server_only(tmp_path: Path) -> None:
    """The certificate must name the host, or be of the application that the configuration expects."""
    pki = Pki(tmp_path)
    server, elsewhere = fit.certificate(issuer=pki.root), fit.certificate(issuer=pki.root, hosts=("plc9.example",))
    config = fit.secure_config(4840, security={"trust": "ca"})
    assert admit(_offer(server), config, fit.identity(tmp_path), NOW).why == "ca"
    with pytest.raises(UntrustedError, match=r"is for plc9\.example, not for 127\.0\.0\.1"):
        admit(_offer(elsewhere), config, fit.identity(tmp_path), NOW)
    by_uri = fit.secure_config(4840, security={"trust": "ca", "server_uri": fit.SERVER_URI})
    assert admit(_offer(elsewhere), by_uri, fit.identity(tmp_path), NOW).why == "ca"
    other = fit.secure_config(4840, security={"trust": "ca", "server_uri": "urn:other"})
    with pytest.raises(UntrustedError, match="server_uri says"):
        admit(_offer(server), other, fit.identity(tmp_path), NOW)


# -- the agent's own ---------------------------------------------------------------------------------------------


def test_the_agents_certificate_is_made_once_and_kept(tmp_path: Path) -> None:
    """Right usages, URI and host; the key is for the agent alone; the next start and a copied folder are the same identity."""
    identity = fit.identity(tmp_path)
    first = keys.own(identity)
    folder = identity.folder / "own"
    assert first.application == "urn:edge-agent:gw1"
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(folder)) == ["certificate.der", "certificate.pem", "key.pem"]  # noqa: PTH208
    assert read((folder / "certificate.der").read_bytes()) == [first.certificate]
    usage = first.certificate.parsed.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert first.key.key_size >= 2048
    assert keys.own(identity).certificate == first.certificate
    (tmp_path / "replaced").mkdir()
    identity.folder.rename(tmp_path / "replaced" / "pki")
    assert keys.own(fit.identity(tmp_path / "replaced")).certificate == first.certificate


def test_two_that_begin_at_once_have_one_identity(tmp_path: Path) -> None:
    """Key and certificate are written so that whoever comes second takes what is there."""
    found: list[Certificate] = []
    threads = [threading.Thread(target=lambda: found.append(keys.own(fit.identity(tmp_path)).certificate)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({each.der for each in found}) == 1


def test_a_certificate_that_was_removed_comes_anew_with_the_same_key(tmp_path: Path) -> None:
    """A crash between the two files, or a person who renews: the key stays."""
    first = keys.own(fit.identity(tmp_path))
    (tmp_path / "pki/own/certificate.pem").unlink()
    second = keys.own(fit.identity(tmp_path))
    assert second.certificate != first.certificate
    assert second.key.private_numbers() == first.key.private_numbers()


def test_own_files_that_are_no_good(tmp_path: Path) -> None:
    """A readable or missing key, one that does not belong to the certificate, and one that is over: told with the remedy, never replaced in silence."""
    identity, own = fit.identity(tmp_path), tmp_path / "pki/own"
    keys.own(identity)
    key, certificate = (own / "key.pem").read_bytes(), (own / "certificate.pem").read_bytes()

    def told() -> str:
        with pytest.raises(UntrustedError) as caught:
            keys.own(identity)
        assert caught.value.fault == "own_certificate"
        assert caught.value.remedy
        assert b"PRIVATE" not in str(caught.value).encode()
        return str(caught.value)

    (own / "key.pem").chmod(0o644)
    assert "chmod 600" in told()
    (own / "key.pem").chmod(0o600)
    (own / "key.pem").write_bytes(fit.key_bytes(fit.key("second")))
    assert "do not belong together" in told()
    (own / "key.pem").write_bytes(b"garbage")
    assert "no key that can be used" in told()
    (own / "key.pem").unlink()
    assert "key.pem is missing" in told()
    (own / "key.pem").write_bytes(fit.key_bytes(fit.key("second")))
    (own / "key.pem").chmod(0o600)
    over = fit.certificate(fit.key("second"), days=(-9, -1), uris=("urn:edge-agent:gw1",))
    (own / "certificate.pem").write_bytes(over.public_bytes(serialization.Encoding.PEM))
    assert "valid from" in told()
    assert (own / "certificate.pem").read_bytes() != certificate
    assert key


def test_a_clock_that_is_wrong_makes_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that begins in 1970 would make a certificate that is over when its clock is set."""

    class Epoch(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(1970, 1, 1, tzinfo=tz)

    monkeypatch.setattr(keys, "datetime", Epoch)
    with pytest.raises(UntrustedError, match="the clock of the gateway says 1970-01-01"):
        keys.own(fit.identity(tmp_path))
    assert not (tmp_path / "pki").exists()


def test_a_certificate_of_an_authority_brings_its_own_uri(tmp_path: Path) -> None:
    """The session says what the certificate says, and the chain goes along."""
    root = fit.certificate(fit.key("root"), name="Root", authority=True), fit.key("root")
    own = tmp_path / "pki/own"
    own.mkdir(parents=True)
    issued = fit.certificate(fit.key("second"), uris=("urn:acme:line3",), issuer=root)
    (own / "certificate.pem").write_bytes(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (issued, root[0])))
    (own / "key.pem").write_bytes(fit.key_bytes(fit.key("second")))
    (own / "key.pem").chmod(0o600)
    found = keys.own(fit.identity(tmp_path))
    assert (found.application, found.chain) == ("urn:acme:line3", (fit.ours(root[0]),))


# -- expiry ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "stage"), [(60.1, None), (59.9, 60), (30.1, 60), (29.9, 30), (7.1, 30), (6.9, 7), (1.1, 7), (0.9, 1), (0, 0), (-5, 0)]
)
def test_expiry_is_told_in_stages(left: float, stage: int | None) -> None:
    """60, 30, 7 and 1 days ahead, and when it is over."""
    assert expiry.stage(NOW + timedelta(days=left), NOW) == stage


def test_each_stage_is_one_text(tmp_path: Path) -> None:
    """The text changes with the stage alone, so that each is news once; everything that is in order clears what was raised."""
    made = fit.ours(fit.certificate(days=(-1, 100)))
    secured = Secured(None, Admitted(made, fit.SERVER_URI, "current"), keys.own(fit.identity(tmp_path)))  # type: ignore[arg-type]
    texts = []
    for hour in range(0, 102 * 24, 6):
        found = [each for each in expiry.findings(secured, NOW + timedelta(hours=hour)) if each.code == "cert_expires"]
        texts += [each.text for each in found if not texts or texts[-1] != each.text]
    assert [text.partition(", ")[2] or "over" for text in texts] == [
        "within 60 days", "within 30 days", "within 7 days", "within 1 day", "over",
    ]  # fmt: skip
    notices = expiry.notices("plc", 5, expiry.findings(secured, NOW))
    assert {notice.code for notice in notices} == set(expiry.CODES)
    assert all(notice.ok for notice in notices)


# -- what leaves -------------------------------------------------------------------------------------------------


def test_no_service_but_discovery_passes_an_unprotected_channel() -> None:
    """The guard refuses every request of a session over a channel without signature, unless the configuration allows it."""
    for kind in READING:
        request = kind()
        for mode in (ua.MessageSecurityMode.None_, ua.MessageSecurityMode.Invalid):
            if kind in DISCOVERY:
                Guard().check_channel(request, mode)
            else:
                with pytest.raises(PermissionError):
                    Guard().check_channel(request, mode)
            Guard(insecure=True).check_channel(request, mode)
        Guard().check_channel(request, ua.MessageSecurityMode.Sign)


CERTIFICATES = ["pinned", "other", "expired", "garbage", "none"]
USERS: list[dict[str, Any]] = [{}, {"username": "canary-user", "password": "canary-password"}]
POLICY_URIS = [policy.URI for policy in POLICIES.values()] + [
    "http://opcfoundation.org/UA/SecurityPolicy#None",
    "urn:garbage",
    None,
]


@st.composite
def _endpoints(draw: st.DrawFn) -> list[tuple[str | None, int, str, str]]:
    one = st.tuples(
        st.sampled_from(POLICY_URIS), st.integers(0, 3), st.sampled_from(CERTIFICATES), st.sampled_from([fit.SERVER_URI, "urn:x"])
    )
    return draw(st.lists(one, max_size=5))


def _described(
    endpoints: list[tuple[str | None, int, str, str]], certificates: dict[str, bytes | None]
) -> list[ua.EndpointDescription]:
    out = []
    for policy, mode, certificate, uri in endpoints:
        one = ua.EndpointDescription()
        one.EndpointUrl = "opc.tcp://127.0.0.1:4840"
        one.SecurityPolicyUri, one.SecurityMode = policy, ua.MessageSecurityMode(mode)
        one.ServerCertificate = certificates[certificate]
        one.Server.ApplicationUri = uri
        out.append(one)
    return out


def _chunks(log: bytes) -> list[bytes]:
    out, at = [], 0
    while at < len(log):
        size = int.from_bytes(log[at + 4 : at + 8], "little")
        out.append(bytes(log[at : at + size]))
        at += size
    return out


@given(_endpoints(), st.sampled_from(list(POLICIES)), st.sampled_from(["Sign", "SignAndEncrypt"]), st.sampled_from(USERS))
@settings(deadline=None, max_examples=60)
def test_nothing_leaves_in_the_clear_after_discovery(
    tmp_path_factory: pytest.TempPathFactory, endpoints: list[Any], policy: str, mode: str, user: dict[str, Any]
) -> None:
    """Without allow_insecure only discovery leaves unprotected; a channel is opened with the configured policy to the pinned certificate alone.

    No user, password or tag stands in any byte, whatever a server offers.
    """
    if user and mode == "Sign":
        mode = "SignAndEncrypt"  # the configuration refuses the other
    place = _place(tmp_path_factory)
    expired = fit.certificate(days=(-9, -1))
    certificates = {
        "pinned": fit.der(_fixed()), "other": fit.der(_other()), "expired": fit.der(expired), "garbage": b"0\x82garbage", "none": None,
    }  # fmt: skip
    server = fit.ScriptedServer(_described(endpoints, certificates))
    security = {"policy": policy, "mode": mode, "allow_deprecated": True}

    async def go() -> None:
        async with server.running():
            config = fit.secure_config(server.port, security=security, timeout="1s", **user)
            fit.pinned(place.parent, config.url, _fixed())
            with pytest.raises(DisconnectedError):
                async with connect([config], WallClock(), {}, FAST, identity=Identity("gw1", place)):
                    pass

    asyncio.run(go())
    wanted = (POLICIES[policy].URI, 2 if mode == "Sign" else 3)
    first = next(((cert, uri) for found, number, cert, uri in endpoints if (found, number) == wanted), None)
    may_open = first == ("pinned", fit.SERVER_URI)
    assert len(server.received) == 1 + may_open
    discovery, *rest = [_chunks(bytes(log)) for log in server.received]
    assert [chunk[:3] for chunk in discovery] in ([b"HEL", b"OPN", b"MSG", b"CLO"], [b"HEL", b"OPN", b"MSG"])
    assert int.from_bytes(discovery[2][26:28], "little") == ua.ObjectIds.GetEndpointsRequest_Encoding_DefaultBinary
    for chunks in rest:
        assert [chunk[:3] for chunk in chunks] == [b"HEL", b"OPN"]
        assert wanted[0].encode() in chunks[1]
    everything = b"".join(bytes(log) for log in server.received)
    for canary in ("canary-user", "canary-password", "CanaryTag"):
        assert canary.encode() not in everything
        assert quote(canary).encode() not in everything


def _place(factory: pytest.TempPathFactory, made: list[Path] = []) -> Path:  # noqa: B006 - one identity for all examples: a key takes time
    if not made:
        made.append(factory.mktemp("clear") / "pki")
    return made[0]


def _other(made: list[x509.Certificate] = []) -> x509.Certificate:  # noqa: B006 - one for all examples
    if not made:
        made.append(fit.certificate(fit.key("second")))
    return made[0]


def test_the_configuration_is_a_model_of_its_own() -> None:
    """A device without a word about security gets the strongest that every PLC has: encrypted, and pinned."""
    config = OpcUaConfig.model_validate(fit.secure_config(1).model_dump(mode="json"))
    assert (config.security.policy, config.security.mode, config.security.trust) == ("Basic256Sha256", "SignAndEncrypt", "pinned")
    assert config.allow_insecure is False


async def test_a_refusal_to_open_a_channel_is_understood() -> None:
    """A server may refuse a channel by a fault in the channel's own kind of message: its words are told, and the connection ends."""
    server = fit.ScriptedServer([])
    server.refusal = ua.StatusCodes.BadSecurityChecksFailed
    async with server.running():
        with pytest.raises(DisconnectedError, match="the server answers BadSecurityChecksFailed"):
            async with connect([fit.secure_config(server.port, allow_insecure=True)], WallClock(), {}, FAST):
                pass
