"""``edge-agent identity export|import``: what makes a gateway the one that servers, broker and MES know, in one file for the safe."""

from __future__ import annotations

import getpass
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from edge_agent import __version__
from edge_agent.cli.identityfile import About, Parcel, needs_passphrase, pack, take, unpack
from edge_agent.cli.owner import as_owner
from edge_agent.config.load import load
from edge_agent.drivers.opcua.pins import write
from edge_agent.model.errors import EdgeAgentError

_SHORTEST = 12
_NAMED = re.compile(rb"\$\{file:([^}]+)\}|password_file:\s*[\"']?([^\s,}\"']+)")


def export(directory: Path, output: Path, passphrase_file: Path | None) -> None:
    """Write the identity of a gateway. Raises EdgeAgentError; an existing file stays as it is."""
    config = load(directory)
    include = config.agent.include
    about = About(
        agent=config.agent.agent, site=list(config.agent.site), version=__version__, made_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        included=[include] if isinstance(include, str) else include,
    )  # fmt: skip
    parcel = Parcel(about)
    root = directory if directory.is_dir() else directory.parent
    for folder, inside in (
        (root, "config"),
        *((each, f"config/included-{number}") for number, each in enumerate(config.included, 1)),
    ):
        take(folder, inside, parcel)
    pki = config.identity.folder
    for part in ("trusted", "ca"):
        take(pki / part, f"pki/{part}", parcel)
    own = pki / "own"
    if (own / "key.pem").exists():
        parcel.certificate, parcel.key = (own / "certificate.pem").read_bytes(), (own / "key.pem").read_bytes()
    found = (match for content in parcel.files.values() for match in _NAMED.findall(content))
    parcel.about.secrets = sorted({(one or other).decode() for one, other in found})
    passphrase = _new_passphrase(passphrase_file) if parcel.key else None
    try:
        write(output, pack(parcel, passphrase), 0o600, new=True)
    except FileExistsError:
        raise EdgeAgentError(f"{output} is there already; name another file") from None
    except OSError as error:
        raise EdgeAgentError(f"{output} cannot be written: {error.strerror}") from error
    key = "its key and certificate, sealed with the passphrase" if parcel.key else "no key (no OPC UA device has wanted one)"
    print(f"{output}: {about.agent} of {'/'.join(about.site)}, {len(parcel.files)} files, {key}")
    _tell_secrets(parcel)
    print("Keep it where the gateway's backup is, and the passphrase elsewhere.")


def import_(file: Path, directory: Path, passphrase_file: Path | None, pki: Path | None) -> None:
    """Lay out an identity on a blank gateway. Raises EdgeAgentError; nothing that exists is changed."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise EdgeAgentError(f"{file} cannot be read: {error.strerror}") from error
    passphrase = _passphrase(passphrase_file, "passphrase: ") if needs_passphrase(data) else None
    parcel = unpack(data, passphrase)
    about = parcel.about
    for taken in (directory / "agent.yaml", directory / "devices", directory / "units"):
        if taken.exists():
            raise EdgeAgentError(
                f"{taken} is there already; an identity is laid out on a blank gateway only: move the folder away first, or name another one with -c"
            )
    _name_the_included(parcel)
    _lay_out(parcel, "config", directory, 0o640)
    place = pki or _pki_of(directory)
    if (place / "own" / "key.pem").exists():
        raise EdgeAgentError(
            f"{place / 'own' / 'key.pem'} is there already: this gateway has an identity; move {place} away first. The configuration was laid out"
        )
    with as_owner(place):
        _lay_out(parcel, "pki", place, 0o644)
        if parcel.key is not None and parcel.certificate is not None:
            (place / "own").mkdir(mode=0o700, parents=True, exist_ok=True)
            write(place / "own" / "key.pem", parcel.key, 0o600)
            write(place / "own" / "certificate.pem", parcel.certificate, 0o644)
    print(
        f"{about.agent} of {'/'.join(about.site)} (written {about.made_at} by version {about.version}): configuration in {directory}, certificates in {place}"
    )
    _tell_secrets(parcel)
    print(f"Next: edge-agent check -c {directory}; edge-agent adopt -c {directory}; then start the service.")


def _lay_out(parcel: Parcel, inside: str, root: Path, mode: int) -> None:
    for name, content in parcel.files.items():
        if name.startswith(f"{inside}/"):
            place = root / name.removeprefix(f"{inside}/")
            place.parent.mkdir(parents=True, exist_ok=True)
            write(place, content, mode)


def _name_the_included(parcel: Parcel) -> None:
    """Let ``include:`` mean the folders that come with the identity: those of the old gateway may stand nowhere here."""
    text = parcel.files.get("config/agent.yaml", b"").decode("utf-8", "replace")
    for number, name in enumerate(parcel.about.included, 1):
        text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])", f"included-{number}", text)
        print(f"  include: {name} is included-{number} here, as it was when the identity was written")
    if parcel.about.included:
        parcel.files["config/agent.yaml"] = text.encode()


def _pki_of(directory: Path) -> Path:
    """Where the configuration that was just laid out keeps its certificates."""
    return load(directory).identity.folder


def _tell_secrets(parcel: Parcel) -> None:
    for name in parcel.about.secrets:
        print(f"  not in it, bring it by hand: {unquote(name)}")


def _new_passphrase(file: Path | None) -> bytes:
    passphrase = _passphrase(file, f"passphrase for the key (at least {_SHORTEST} characters): ")
    if len(passphrase) < _SHORTEST:
        raise EdgeAgentError(f"the passphrase has {len(passphrase)} characters; the key wants at least {_SHORTEST}")
    if file is None and getpass.getpass("once more: ").encode() != passphrase:
        raise EdgeAgentError("the two passphrases differ; nothing was written")
    return passphrase


def _passphrase(file: Path | None, question: str) -> bytes:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\n").encode()
        except OSError as error:
            raise EdgeAgentError(f"{file} cannot be read: {error.strerror}") from error
    if not sys.stdin.isatty():
        raise EdgeAgentError("the passphrase cannot be asked for, because there is no terminal; give --passphrase-file FILE")
    return getpass.getpass(question).encode()
