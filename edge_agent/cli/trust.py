"""``edge-agent trust``: show a server's certificate to a person, and pin it when the person says so. Trust begins nowhere else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent import logs
from edge_agent.cli.owner import as_owner
from edge_agent.cli.words import plain
from edge_agent.config.load import load_devices
from edge_agent.config.schema import AgentConfig
from edge_agent.drivers.opcua import keys, pins
from edge_agent.drivers.opcua.admission import Offer, trust_command
from edge_agent.drivers.opcua.certificate import LEAST_BITS, LEAST_BITS_DEPRECATED, Certificate, UntrustedError, judge, read
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.discover import discover
from edge_agent.drivers.opcua.pins import Pins
from edge_agent.drivers.opcua.policy import DEPRECATED
from edge_agent.model.errors import EdgeAgentError
from edge_agent.ports import Identity

_WITHIN = 10.0
"""Machine seconds that the server gets for each answer."""


def trust(server: str, directory: Path, *, yes: bool, following: Path | None, pki: Path | None = None) -> None:
    """Trust a server, by its address or the name of its device. Raises EdgeAgentError with the remedy when that cannot be, or nobody agreed."""
    logs.configure("error")
    config = load_devices(directory)  # a mistake in a unit is no reason to leave a device without trust
    url, device = _server(server, config)
    if device is not None and not device.allow_insecure and device.security.trust == "ca":
        raise EdgeAgentError(f"nothing was changed: device {device.device} trusts authorities (trust: ca), not single certificates")
    identity = config.identity
    if pki is not None:
        identity = Identity(identity.agent, pki.absolute(), identity.config)
    with as_owner(identity.folder):
        if following is not None:
            _trust_next(url, _from_file(following), device, identity, yes=yes)
        else:
            _trust_server(url, device, identity, yes=yes)


def _trust_server(url: str, device: OpcUaConfig | None, identity: Identity, *, yes: bool) -> None:
    """Ask a server for its certificate, and pin it."""
    offers = asyncio.run(discover(url, _WITHIN))
    offer = _secure(offers, device)
    try:
        certificate = read(offer.certificate)[0]
    except ValueError as error:
        raise EdgeAgentError(f"the server's certificate cannot be read: {error}") from error
    print("\n".join(_shown(url, certificate, offers, offer)))
    _refuse_unusable(certificate, offer.application, device)
    _trust_shown(url, certificate, device, identity, yes=yes)
    _tell_own(identity)


def _server(text: str, config: AgentConfig) -> tuple[str, OpcUaConfig | None]:
    """Return the address that is meant, and the device that has it."""
    devices = [device for device in config.devices if isinstance(device, OpcUaConfig)]
    if "://" not in text:
        named = [device for device in devices if device.device == text]
        if not named:
            raise EdgeAgentError(f"there is no OPC UA device '{text}'; name a device or an address: opc.tcp://host:4840")
        return named[0].url, named[0]
    try:
        parts = urlsplit(text)
        bad = parts.scheme != "opc.tcp" or not parts.hostname or parts.port == 0 or "@" in parts.netloc
    except ValueError:
        bad = True
    if bad:
        raise EdgeAgentError(f"{text!r} is not an OPC UA address; write opc.tcp://host:4840")
    place = pins.place(Path(), text)
    matching = [device for device in devices if pins.place(Path(), device.url) == place]
    if not matching:
        print("no device of this configuration has this address; the pin counts for one that gets it", file=sys.stderr)
    return text, matching[0] if matching else None


def _secure(offers: Sequence[Offer], device: OpcUaConfig | None) -> Offer:
    """Return the endpoint whose certificate is meant: the device's own, else the first that is secure."""
    secure = [offer for offer in offers if offer.mode in {"Sign", "SignAndEncrypt"} and offer.certificate]
    if not secure:
        raise EdgeAgentError(
            f"the server offers no secure endpoint ({', '.join(str(offer) for offer in offers) or 'nothing at all'}), so there is nothing to trust; "
            "enable one on the server"
        )
    wanted = [offer for offer in secure if device and (offer.policy, offer.mode) == (device.security.policy, device.security.mode)]
    return (wanted or secure)[0]


def _shown(url: str, certificate: Certificate, offers: Sequence[Offer], offer: Offer) -> Iterator[str]:
    yield f"server       {url}"
    yield f"offers       {', '.join(dict.fromkeys(plain(str(each)) for each in offers))}"
    yield from _facts(certificate)
    others = {each.certificate for each in offers if each.certificate} - {offer.certificate}
    if others:
        yield f"note         other endpoints show other certificates; this is the one of {offer}"


def _facts(certificate: Certificate) -> Iterator[str]:
    issuer = certificate.parsed.issuer
    yield f"subject      {plain(certificate.subject)}"
    yield f"issuer       {'itself' if issuer == certificate.parsed.subject else plain(issuer.rfc4514_string())}"
    yield f"application  {plain(', '.join(certificate.uris) or '-')}"
    yield f"hosts        {plain(', '.join(certificate.hosts) or '-')}"
    yield f"valid        {certificate.begins:%Y-%m-%d} to {certificate.ends:%Y-%m-%d}"
    yield f"SHA-256      {certificate.thumbprint}"


def _refuse_unusable(certificate: Certificate, application: str | None, device: OpcUaConfig | None) -> None:
    """Raise EdgeAgentError for a certificate that the agent would not accept even when it is pinned."""
    least = LEAST_BITS_DEPRECATED if device is not None and device.security.policy in DEPRECATED else LEAST_BITS
    expired = device is not None and device.security.allow_expired
    try:
        judge(certificate, uri=application, now=datetime.now(UTC), least_bits=least, allow_expired=expired)
    except UntrustedError as error:
        raise EdgeAgentError(f"nothing was changed: {plain(str(error))}") from error


def _trust_shown(url: str, certificate: Certificate, device: OpcUaConfig | None, identity: Identity, *, yes: bool) -> None:
    if _by_configuration(certificate, device):
        return
    place = pins.place(identity.folder, url)
    known = pins.load(place)
    if known.current is not None and known.current.thumbprint == certificate.thumbprint:
        print("it is trusted already" + ("; another one waits as the next" if known.next is not None else ""))
        return
    _agree(_question(certificate, known), yes=yes, warning=_warning(certificate, known))
    if known.next is not None and known.next.thumbprint == certificate.thumbprint:
        pins.promote(place)
    else:
        pins.store(place, "current", certificate)
    print(f"trusted: {place / 'current.der'}. A running agent finds it within 30 s")


def _question(certificate: Certificate, known: Pins) -> str:
    if known.current is None:
        return "Compare the SHA-256 with what the server itself shows. Trust this certificate?"
    if known.next is not None and known.next.thumbprint == certificate.thumbprint:
        return f"This is the certificate that was announced as the next. Forget the old one ({known.current.thumbprint})?"
    return "Trust this one instead?"


def _warning(certificate: Certificate, known: Pins) -> str:
    """Return what whoever agrees has to know, also one who agrees unseen (``--yes``)."""
    if known.current is None or (known.next is not None and known.next.thumbprint == certificate.thumbprint):
        return ""
    return (
        f"THIS IS NOT THE TRUSTED CERTIFICATE ({known.current.thumbprint}).\n"
        "Unless somebody has changed it on purpose, somebody stands in between."
    )


def _by_configuration(certificate: Certificate, device: OpcUaConfig | None) -> bool:
    """Tell whether the configuration trusts it. Raises EdgeAgentError where the configuration, and not the folder, would have to."""
    if device is None:
        return False
    if device.allow_insecure:
        print(
            f"device {device.device} says allow_insecure: true and does not ask for a certificate; remove that to use this one",
            file=sys.stderr,
        )
        return False
    if not device.security.pins:
        return False
    if certificate.thumbprint not in device.security.pins:
        raise EdgeAgentError(
            f"nothing was changed: the pins of device {device.device} stand in the configuration. To trust this certificate, write it there: "
            f"security: {{pins: [{certificate.thumbprint}]}}"
        )
    print("it is trusted already, by the configuration")
    return True


def _trust_next(url: str, certificate: Certificate, device: OpcUaConfig | None, identity: Identity, *, yes: bool) -> None:
    """Pin a certificate that the server does not show yet."""
    print("\n".join([f"server       {url}, from now on with this one too:", *_facts(certificate)]))
    _refuse_unusable(certificate, None, device)
    if _by_configuration(certificate, device):
        return
    place = pins.place(identity.folder, url)
    known = pins.load(place)
    if known.current is not None and known.current.thumbprint == certificate.thumbprint:
        print("it is trusted already")
        return
    _agree("Trust this certificate as the next one of the server?", yes=yes)
    pins.store(place, "next" if known.current is not None else "current", certificate)
    print(f"trusted: {place}. Once the server shows it, {trust_command(url, identity)} forgets the old one")


def _from_file(file: Path) -> Certificate:
    try:
        return read(file.read_bytes())[0]
    except OSError as error:
        raise EdgeAgentError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EdgeAgentError(f"{file} is no certificate in DER or PEM") from error


def _agree(question: str, *, yes: bool, warning: str = "") -> None:
    """Let a person agree. Raises EdgeAgentError."""
    if warning:
        print(warning, flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise EdgeAgentError(
            "nothing was changed: nobody can be asked here; compare the SHA-256, then run it again with --yes to agree"
        )
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise EdgeAgentError("nothing was changed")


def _tell_own(identity: Identity) -> None:
    """Say what the server has to trust in turn; the agent's certificate is made for that where there is none."""
    try:
        own = keys.own(identity)
    except UntrustedError as error:
        print(f"the agent's own certificate: {plain(str(error))}", file=sys.stderr)
        return
    print(
        f"The server must trust the agent too: {identity.folder / 'own' / 'certificate.der'} (SHA-256 {own.certificate.thumbprint})"
    )
