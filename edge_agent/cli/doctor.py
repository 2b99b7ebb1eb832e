"""``edge-agent doctor``: what somebody far away needs to help, in one zip without secrets. Looks only; nothing is changed and nothing is sent."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from edge_agent import __version__, logs
from edge_agent.cli.mask import Masker, secrets_of
from edge_agent.cli.peers import Peer, addresses, peers
from edge_agent.cli.progress import Progress
from edge_agent.cli.reach import running
from edge_agent.cli.system import clock, disks, journal
from edge_agent.cli.words import json_text, size
from edge_agent.config.load import InvalidConfigError, load
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.report import Status

_LARGEST_FILE = 4 << 20
_CONNECT = 2.0
"""Machine seconds that a peer has to take a connection."""


def doctor(directory: Path, output: Path | None) -> int:
    """Write the bundle and say what is in it; return the exit code. Raises EdgeAgentError when it cannot be written."""
    logs.configure("error")
    progress = Progress()
    config, problems = _loaded(directory)
    status = _status(config)
    masker = Masker(secrets_of(config))
    name = "unknown" if config is None else config.agent.agent
    file = output or Path(f"edge-agent-doctor-{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.zip")
    parts: list[tuple[str, Callable[[], str]]] = [
        ("versions.json", lambda: json_text(versions())),
        ("check.json", lambda: json.dumps(problems, indent=2)),
        ("status.json", lambda: status if isinstance(status, str) else json_text(status)),
        ("store.json", lambda: json_text(_store(config))),
        ("clock.txt", clock),
        ("disks.json", lambda: json_text(disks(_places(directory, config)))),
        ("network.json", lambda: json_text(reachability(config, status if isinstance(status, Status) else None))),
        ("journal.txt", journal),
    ]
    parts += [(f"config/{inside}", text) for inside, text in _config_files(directory)]
    for number, folder in enumerate(() if config is None else config.included, 1):
        parts += [(f"config/included-{number}/{inside}", text) for inside, text in _config_files(folder)]
    _write(file, parts, masker, progress)
    progress.done()
    print(f"{file} ({size(file.stat().st_size)}): {', '.join(name for name, _ in parts)}")
    print("secrets are masked; look into it before you send it")
    return 0


def _write(file: Path, parts: list[tuple[str, Callable[[], str]]], masker: Masker, progress: Progress) -> None:
    """Write every part that can be had; why one cannot stands in its place."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise EdgeAgentError(f"{file}: {error.strerror}; name another file with --output") from error
    with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, make in parts:
            progress(f"collecting {name}")
            try:
                text = make()
            except Exception as error:  # noqa: BLE001 - told in the bundle itself: one part that fails must not cost the others
                text = f"could not be had: {type(error).__name__}: {error}"
            bundle.writestr(name, masker.text(text))


def _loaded(directory: Path) -> tuple[AgentConfig | None, dict[str, object]]:
    try:
        config = load(directory)
    except InvalidConfigError as error:
        return None, {"ok": False, "problems": [problem.as_dict() for problem in error.problems]}
    return config, {"ok": True, "cfg": config.fingerprint, "cautions": config.cautions}


def _status(config: AgentConfig | None) -> Status | str:
    if config is None:
        return "the configuration cannot be read, so nobody knows which agent to ask"
    try:
        desk = running(config, None)
        return "no agent is running" if desk is None else asyncio.run(desk.status())
    except EdgeAgentError as error:
        return str(error)


def versions() -> dict[str, object]:
    """Return the versions of everything that takes part."""
    packages = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    return {
        "edge-agent": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda pair: pair[0].lower())),
    }


def _store(config: AgentConfig | None) -> dict[str, object]:
    """Return the files of the store; its figures stand in the status."""
    if config is None:
        return {}
    folder = config.agent.buffer.path.absolute()
    files = {}
    for file in sorted(folder.iterdir()):
        found = file.lstat()
        files[file.name] = {
            "bytes": found.st_size,
            "modified": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime)),
            "mode": oct(found.st_mode & 0o777),
            "owner": found.st_uid,
        }
    return {"path": str(folder), "files": files}


def _places(directory: Path, config: AgentConfig | None) -> list[Path]:
    return [directory, *([] if config is None else [config.agent.buffer.path.absolute()])]


def reachability(config: AgentConfig | None, status: Status | None) -> list[dict[str, object]]:
    """Return for each configured peer whether it can be reached from here. Nobody else is asked, and no device that the agent is connected to.

    (Many devices have one connection only: a second one could cost the agent its own.)
    """
    found: list[dict[str, object]] = []
    for peer in () if config is None else peers(config):
        report = None if status is None else status.devices.get(peer.name)
        told = {"name": peer.name, "host": peer.host, "port": peer.port}
        found.append(
            told | ({"reached": True, "how": "the agent is connected"} if report is not None and report.up else _tried(peer))
        )
    return found


def _tried(peer: Peer) -> dict[str, object]:
    try:
        known = list(addresses(peer.host))
    except OSError as error:
        return {"reached": False, "how": f"the name cannot be resolved: {error}"}
    began = time.monotonic()
    try:
        socket.create_connection((peer.host, peer.port), _CONNECT).close()
    except OSError as error:
        return {"reached": False, "addresses": known, "how": str(error)}
    return {"reached": True, "addresses": known, "ms": round((time.monotonic() - began) * 1e3, 1)}


def _config_files(directory: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the files of the configuration as they stand there: variables are not filled in."""
    root = directory if directory.is_dir() else directory.parent
    named = [directory] if directory.is_file() else []
    for file in sorted(
        {
            *named,
            *(
                each
                for kind in ("*.yaml", "*.yml", "*.csv")
                for folder in (root, root / "devices", root / "units")
                if directory.is_dir()
                for each in folder.glob(kind)
            ),
        }
    ):
        yield str(file.relative_to(root)), lambda file=file: _text(file)  # type: ignore[misc]


def _text(file: Path) -> str:
    if file.stat().st_size > _LARGEST_FILE:
        return f"left out: {size(file.stat().st_size)}"
    return file.read_text(encoding="utf-8", errors="replace")
