"""`edge-agent identity`: what one gateway exports, a blank one lays out; nothing else is believed, and nothing that exists is changed."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from edge_agent.cli.identity import export, import_
from edge_agent.cli.identityfile import unpack
from edge_agent.config.load import load
from edge_agent.drivers.opcua import keys
from edge_agent.model.errors import EdgeAgentError

PASS = "a passphrase of some length"

AGENT = """\
version: 1
agent: gw-l3
site: [acme, plant1]
include: ../common
variables: {plc: 10.0.3.5}
mqtt: {broker: "mqtts://broker", tls: {ca: system}, username: gw, password_file: /run/credentials/edge-agent.service/mqtt_password}
buffer: {path: %s/buffer}
"""
DEVICE = """\
version: 1
device: press
driver: opcua
url: opc.tcp://${plc}:4840
namespace: urn:x
username: reader
password: ${file:%s}
tags: {a: {node: "s=A"}}
"""


def gateway(root: Path) -> Path:
    """Write a gateway with a common folder, a key, a trusted server and a password; return its configuration."""
    (root / "etc").mkdir(parents=True)
    (root / "common" / "devices").mkdir(parents=True)
    (root / "opc").write_text("canary-pass")
    (root / "pass").write_text(PASS + "\n")
    (root / "etc" / "agent.yaml").write_text(AGENT % root)
    (root / "common" / "devices" / "press.yaml").write_text(DEVICE % (root / "opc"))
    config = load(root / "etc")
    keys.own(config.identity)
    pin = config.identity.folder / "trusted" / "10.0.3.5_4840" / "current.der"
    pin.parent.mkdir(parents=True)
    pin.write_bytes(b"the server's")
    return root / "etc"


def exported(root: Path) -> Path:
    """Return the file that a gateway exports."""
    file = root / "gw.identity"
    export(gateway(root), file, root / "pass")
    return file


def test_a_blank_gateway_becomes_the_other_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Configuration, included folder, pins, certificate and key are the same; the key is for its owner alone."""
    file = exported(tmp_path / "old")
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"bring it by hand: {tmp_path}/old/opc" in capsys.readouterr().out
    new = tmp_path / "new" / "etc"
    pki = tmp_path / "new" / "pki"
    import_(file, new, tmp_path / "old" / "pass", pki)
    out = capsys.readouterr().out
    assert "edge-agent adopt" in out
    assert "mqtt_password" in out
    theirs, ours = load(tmp_path / "old" / "etc"), load(new)
    assert ours.devices == theirs.devices
    assert ours.included == ((new / "included-1").resolve(),)
    assert (pki / "trusted" / "10.0.3.5_4840" / "current.der").read_bytes() == b"the server's"
    old = keys.load(tmp_path / "old" / "pki" / "own" / "certificate.pem", tmp_path / "old" / "pki" / "own" / "key.pem")
    again = keys.load(pki / "own" / "certificate.pem", pki / "own" / "key.pem")
    assert (again.certificate, again.key.private_numbers()) == (old.certificate, old.key.private_numbers())
    assert (pki / "own" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_no_password_and_no_open_key_is_in_the_file(tmp_path: Path) -> None:
    """Whoever finds the file has neither the key nor a password."""
    file = exported(tmp_path)
    with zipfile.ZipFile(file) as bundle:
        everything = b"".join(bundle.read(name) for name in bundle.namelist())
    assert b"canary-pass" not in everything
    assert b"PRIVATE KEY" not in everything
    assert PASS.encode() not in everything


def test_a_wrong_passphrase_changes_nothing(tmp_path: Path) -> None:
    """The message says so, and the gateway is as blank as before."""
    file = exported(tmp_path / "old")
    (tmp_path / "wrong").write_text("another passphrase")
    with pytest.raises(EdgeAgentError, match="passphrase is wrong"):
        import_(file, tmp_path / "new", tmp_path / "wrong", None)
    assert not (tmp_path / "new").exists()


def test_a_gateway_that_has_something_is_left_alone(tmp_path: Path) -> None:
    """Neither configuration nor file is overwritten."""
    file = exported(tmp_path)
    with pytest.raises(EdgeAgentError, match="on a blank gateway only"):
        import_(file, tmp_path / "etc", tmp_path / "pass", None)
    with pytest.raises(EdgeAgentError, match="there already"):
        export(tmp_path / "etc", file, tmp_path / "pass")


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    """A key that a machine guesses in a day is not sealed."""
    folder = gateway(tmp_path)
    (tmp_path / "pass").write_text("short")
    with pytest.raises(EdgeAgentError, match="at least 12"):
        export(folder, tmp_path / "f", tmp_path / "pass")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    "name", ["../etc/passwd.yaml", "/etc/x.yaml", "config/../../x.yaml", "config/run.sh", "own/key.pem", "config\\..\\x.yaml"]
)
def test_a_file_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """No file lands outside of the folders, and none of a kind that could be run."""
    data = io.BytesIO(exported(tmp_path).read_bytes())
    with zipfile.ZipFile(data, "a") as bundle:
        bundle.writestr(name, "x")
    with pytest.raises(EdgeAgentError, match="which no export writes"):
        unpack(data.getvalue(), PASS.encode())


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip at all", os.urandom(64)])
def test_what_is_no_identity_is_told(data: bytes) -> None:
    """Any other file is refused in words."""
    with pytest.raises(EdgeAgentError, match="no identity file"):
        unpack(data, None)
