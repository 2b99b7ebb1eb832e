"""``edge-agent trust``: what a person sees, agrees to, and finds in the trust folder; and that nobody else begins trust."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import opcua_secure as fit
import pytest
from asyncua import ua
from cryptography import x509

from edge_agent.cli.trust import trust
from edge_agent.config.load import identity_of, load
from edge_agent.drivers.opcua import pins
from edge_agent.drivers.opcua.policy import SecurityConfig
from edge_agent.model.errors import ConfigError, EdgeAgentError

AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {{broker: "mqtt://127.0.0.1", allow_insecure: true}}
buffer: {{path: {root}/buffer}}
"""
DEVICE = """\
version: 1
device: plc1
driver: opcua
url: opc.tcp://127.0.0.1:{port}
namespace: urn:x
{more}
tags: {{a: {{node: s=A}}}}
"""


@pytest.fixture(autouse=True)
def _logs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.logs.configure", lambda *_: None)


def _endpoint(made: x509.Certificate, policy: str = "Basic256Sha256", mode: int = 3) -> ua.EndpointDescription:
    one = ua.EndpointDescription()
    one.EndpointUrl = "opc.tcp://127.0.0.1:4840"
    one.SecurityPolicyUri = f"http://opcfoundation.org/UA/SecurityPolicy#{policy}"
    one.SecurityMode, one.ServerCertificate = ua.MessageSecurityMode(mode), fit.der(made)
    one.Server.ApplicationUri = fit.SERVER_URI
    return one


class Place:
    """A configuration with one device, and the server at its address."""

    def __init__(self, root: Path, server: fit.ScriptedServer) -> None:
        self.root, self.server = root, server
        self.config = root
        (root / "devices").mkdir(exist_ok=True)
        (root / "agent.yaml").write_text(AGENT.format(root=root), encoding="utf-8")
        self.device()

    def device(self, more: str = "") -> None:
        """Write the device file."""
        text = DEVICE.format(port=self.server.port, more=more)
        (self.root / "devices" / "plc1.yaml").write_text(text, encoding="utf-8")

    def shows(self, *endpoints: ua.EndpointDescription) -> None:
        """Let the server offer these endpoints."""
        self.server.endpoints = list(endpoints)

    def write_a_broken_unit(self, *, single: bool) -> None:
        """Write a unit that reads a tag which nobody has, and has a key which no unit has: in its folder, or all in a ``single`` file."""
        unit = "version: 1\nunit: cell\nexists_nowhere: 1\nstate: {tag: plc1.exists_nowhere, model: packml}\n"
        if not single:
            (self.root / "units").mkdir()
            (self.root / "units" / "cell.yaml").write_text(unit, encoding="utf-8")
            return
        self.config = self.root / "site.yaml"
        lists = {"devices": DEVICE.format(port=self.server.port, more=""), "units": unit}
        text = "".join(f"{key}:\n- {textwrap.indent(one, '  ').strip()}\n" for key, one in lists.items())
        self.config.write_text(AGENT.format(root=self.root) + text, encoding="utf-8")

    async def trust(
        self, server: str = "plc1", *, yes: bool = True, following: Path | None = None, pki: Path | None = None
    ) -> None:
        """Run the command in a thread of its own, as it has a loop of its own."""
        run = functools.partial(trust, server, self.config, yes=yes, following=following, pki=pki)
        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, run)

    @property
    def pins(self) -> pins.Pins:
        """What the agent would trust."""
        return pins.load(pins.place(self.root / "pki", f"opc.tcp://127.0.0.1:{self.server.port}"))


@contextlib.asynccontextmanager
async def at(root: Path) -> AsyncIterator[Place]:
    """Run a server that offers one secure endpoint, and a configuration for it."""
    async with fit.ScriptedServer([_endpoint(fit.certificate())]).running() as server:
        yield Place(root, server)


class Terminal(io.StringIO):
    """Somebody who types an answer."""

    def isatty(self) -> bool:
        return True


async def test_a_first_contact_is_shown_and_pinned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Subject, application, thumbprint, validity and every offered endpoint are shown; the pin is the server's certificate; the agent's own is named."""
    made = fit.certificate()
    async with at(tmp_path) as place:
        place.shows(_endpoint(made, "None", 1), _endpoint(made, mode=2), _endpoint(made))
        await place.trust()
        assert place.pins == (fit.ours(made), None)
    shown = capsys.readouterr().out
    thumbprint = fit.ours(made).thumbprint
    for word in (
        "CN=plc",
        fit.SERVER_URI,
        thumbprint,
        "None, Basic256Sha256/Sign, Basic256Sha256/SignAndEncrypt",
        "own/certificate.der",
    ):
        assert word in shown


@pytest.mark.parametrize(("answer", "trusted"), [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False)])
async def test_a_person_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, trusted: bool) -> None:
    """Only a yes pins; anything else changes nothing and is exit code 1."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    async with at(tmp_path) as place:
        if trusted:
            await place.trust(yes=False)
        else:
            with pytest.raises(EdgeAgentError, match="nothing was changed"):
                await place.trust(yes=False)
        assert (place.pins.current is not None) is trusted


async def test_where_nobody_can_be_asked_nothing_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script must say --yes: that is somebody's act as well."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    async with at(tmp_path) as place:
        with pytest.raises(EdgeAgentError, match="run it again with --yes"):
            await place.trust(yes=False)
        assert place.pins == (None, None)


async def test_the_current_and_the_next_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Announced from a file, both are trusted; once the server shows the next, trusting it forgets the old one."""
    old, new = fit.certificate(), fit.certificate(fit.key("second"))
    (tmp_path / "new.der").write_bytes(fit.der(new))
    async with at(tmp_path) as place:
        place.shows(_endpoint(old))
        await place.trust()
        await place.trust(following=tmp_path / "new.der")
        assert place.pins == (fit.ours(old), fit.ours(new))
        await place.trust()
        assert "another one waits as the next" in capsys.readouterr().out
        place.shows(_endpoint(new))
        await place.trust()
        assert place.pins == (fit.ours(new), None)
        await place.trust()
        assert "it is trusted already" in capsys.readouterr().out


async def test_a_changed_certificate_is_a_warning_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question says that it is not the trusted one; a yes replaces the pin."""
    old, new = fit.certificate(), fit.certificate(fit.key("second"))
    async with at(tmp_path) as place:
        place.shows(_endpoint(old))
        await place.trust()
        place.shows(_endpoint(new))
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        with pytest.raises(EdgeAgentError):
            await place.trust(yes=False)
        assert f"THIS IS NOT THE TRUSTED CERTIFICATE ({fit.ours(old).thumbprint})" in capsys.readouterr().out
        assert place.pins == (fit.ours(old), None)
        await place.trust()
        assert "THIS IS NOT THE TRUSTED CERTIFICATE" in capsys.readouterr().out, "whoever says --yes sees it, too"
        assert place.pins == (fit.ours(new), None)


async def test_the_hint_for_the_next_certificate_can_be_typed_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the configuration and the folder that this command was given."""
    (tmp_path / "new.der").write_bytes(fit.der(fit.certificate(fit.key("second"))))
    async with at(tmp_path) as place:
        await place.trust(following=tmp_path / "new.der", pki=tmp_path / "keys")
        url = f"opc.tcp://127.0.0.1:{place.server.port}"
    assert f"edge-agent trust {url} -c {tmp_path} --pki {tmp_path / 'keys'} forgets the old one" in capsys.readouterr().out


@pytest.mark.parametrize("single", [False, True])
async def test_a_mistake_in_a_unit_is_no_matter_of_trust(tmp_path: Path, single: bool) -> None:
    """The device can be trusted by its name while the units are still being written, in a folder or in one file; a device's mistake is told."""
    made = fit.certificate()
    async with at(tmp_path) as place:
        place.shows(_endpoint(made))
        place.write_a_broken_unit(single=single)
        with pytest.raises(ConfigError, match="exists_nowhere"):
            load(place.config)
        await place.trust()
        assert place.pins.current == fit.ours(made)
        place.device("timeout: never")
        if not single:
            with pytest.raises(ConfigError, match="timeout"):
                await place.trust()


Change = Callable[[Place], Any]
REFUSED: dict[str, tuple[Change, str, str]] = {
    "no secure endpoint": (lambda p: p.shows(_endpoint(fit.certificate(), "None", 1)), "plc1", "offers no secure endpoint"),
    "nothing offered": (lambda p: p.shows(), "plc1", "nothing at all"),
    "expired": (lambda p: p.shows(_endpoint(fit.certificate(days=(-9, -1)))), "plc1", "has expired"),
    "other application": (lambda p: p.shows(_endpoint(fit.certificate(uris=("urn:o",)))), "plc1", "calls itself"),
    "pins in the file": (lambda p: p.device(f"security: {{pins: [{'ab' * 32}]}}"), "plc1", "stand in the configuration"),
    "authority": (lambda p: p.device("security: {trust: ca}"), "plc1", "trusts authorities"),
    "no device": (lambda p: None, "plc9", "no OPC UA device 'plc9'"),
    "no address": (lambda p: None, "http://plc", "not an OPC UA address"),
    "a user in it": (lambda p: None, "opc.tcp://u:p@plc", "not an OPC UA address"),
    "nobody there": (lambda p: None, "opc.tcp://127.0.0.1:1", "asking for its endpoints"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_trusted(tmp_path: Path, case: str) -> None:
    """Each case says why in one line, and leaves the trust folder as it was, whatever is agreed to."""
    change, server, said = REFUSED[case]
    async with at(tmp_path) as place:
        change(place)
        with pytest.raises(EdgeAgentError, match=said):
            await place.trust(server)
        assert place.pins == (None, None)


async def test_where_authorities_are_trusted_no_server_is_asked(tmp_path: Path) -> None:
    """What the configuration alone refuses is told at once, also when the server is off."""
    async with at(tmp_path) as place:
        place.device("security: {trust: ca}")
        with pytest.raises(EdgeAgentError, match="trusts authorities"):
            await place.trust()
        with pytest.raises(EdgeAgentError, match="trusts authorities"):
            await place.trust(following=tmp_path / "nobody_wrote_this")
        assert place.server.received == []


async def test_a_pin_of_the_configuration_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the configuration trusts needs no file."""
    made = fit.certificate()
    async with at(tmp_path) as place:
        place.shows(_endpoint(made))
        place.device(f"security: {{pins: ['{fit.ours(made).thumbprint.upper()}']}}")
        await place.trust()
        assert place.pins == (None, None)
    assert "trusted already, by the configuration" in capsys.readouterr().out


async def test_names_of_a_server_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in a certificate are written out."""
    async with at(tmp_path) as place:
        place.shows(_endpoint(fit.certificate(name="plc\x1b[2J\rgood")))
        await place.trust()
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\r" not in shown


def test_the_agents_identity_follows_its_id_and_its_folder(tmp_path: Path) -> None:
    """Its folder stands beside the buffer unless the file says where; the command that is told to people names the configuration."""
    (tmp_path / "agent.yaml").write_text(AGENT.format(root=tmp_path), encoding="utf-8")
    assert identity_of(tmp_path) == load(tmp_path).identity
    assert identity_of(tmp_path).folder == tmp_path / "pki"
    single = tmp_path / "site.yaml"
    single.write_text(AGENT.format(root=tmp_path) + f"pki: {tmp_path}/keys\n", encoding="utf-8")
    assert (identity_of(single).folder, identity_of(single).config) == (tmp_path / "keys", single)
    single.write_text("version: 2\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        identity_of(single)


@pytest.mark.parametrize(
    "line", ["password: 12345", "passwort: geheim12345", "user: {a: 1, password: [12345]}", "'password' : 12345"]
)
def test_a_mistake_shows_no_password(tmp_path: Path, line: str) -> None:
    """The text of a problem is printed, and under systemd it is a log: what stands behind a password's key is masked."""
    (tmp_path / "devices").mkdir()
    (tmp_path / "agent.yaml").write_text(AGENT.format(root=tmp_path), encoding="utf-8")
    (tmp_path / "devices/plc1.yaml").write_text(DEVICE.format(port=1, more=f"username: u\n{line}"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert "12345" not in str(caught.value)
    assert "plc1.yaml:7" in str(caught.value)


def test_the_defaults_are_secure() -> None:
    """A security table that says nothing is the default one."""
    assert SecurityConfig.model_validate({}) == SecurityConfig()
