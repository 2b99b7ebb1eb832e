"""``edge-agent migrate``: the configuration in the newest version, shown as a difference, and written with a backup when that is wanted."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edge_agent.cli.words import many
from edge_agent.config.load import load
from edge_agent.config.migrate import NEWEST, migrated, version_of
from edge_agent.model.errors import ConfigError, EdgeAgentError

NOTHING, WAITS = 0, 1


def migrate(directory: Path, *, write: bool) -> int:
    """Show what would change, or write it; return the exit code. Raises EdgeAgentError, and then nothing was changed."""
    files = _files(directory)
    changed: dict[Path, tuple[int, str, str]] = {}
    for file in files:
        text = _read(file)
        try:
            version, new = version_of(text), migrated(text)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        if new != text:
            changed[file] = (version, text, new)
    if not changed:
        print(f"{directory}: everything is in version {NEWEST}; nothing to do")
        return NOTHING
    for file, (_, old, new) in changed.items():
        print(
            "".join(
                difflib.unified_diff(
                    old.splitlines(keepends=True), new.splitlines(keepends=True), str(file), f"{file} (version {NEWEST})"
                )
            ),
            end="",
        )
    _prove(directory, {file: new for file, (_, _, new) in changed.items()})
    if not write:
        print(f"{many(len(changed), 'file')} would change; edge-agent migrate --write writes them, each with a backup beside it")
        return WAITS
    _write(changed)
    print(f"{many(len(changed), 'file')} written; what they were stands beside them as NAME.yaml.v0.bak")
    return NOTHING


def _files(directory: Path) -> list[Path]:
    if directory.is_file():
        return [directory]
    places = (directory, directory / "devices", directory / "units")
    found = [file for place in places for kind in ("*.yaml", "*.yml") for file in sorted(place.glob(kind))]
    if directory / "agent.yaml" not in found:
        raise EdgeAgentError(f"{directory} has no agent.yaml; name the folder of the configuration with --config")
    return [file for file in found if file.parent != directory or file.name == "agent.yaml"]


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeAgentError(f"{file}: {error}") from error


def _prove(directory: Path, new: Mapping[Path, str]) -> None:
    """Load a copy of the configuration with the new files in it. Raises ConfigError with what is wrong in them."""
    root = directory.parent if directory.is_file() else directory
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "config"
        if directory.is_file():
            copy.mkdir()
            shutil.copy2(directory, copy)
        else:
            shutil.copytree(root, copy, ignore=shutil.ignore_patterns("var", "*.db*", "*.sock", "*.bak"))
        for file, text in new.items():
            (copy / file.relative_to(root)).write_bytes(text.encode())
        try:
            load(copy / directory.name if directory.is_file() else copy)
        except ConfigError as error:
            told = str(error).replace(str(copy), str(root))
            raise ConfigError(f"nothing was written, for in version {NEWEST} it would be wrong:\n{told}") from error


def _write(changed: Mapping[Path, tuple[int, str, str]]) -> None:
    """Write backups first, then the files, each whole or not at all."""
    backups = {file: file.with_name(f"{file.name}.v{version}.bak") for file, (version, _, _) in changed.items()}
    there = [str(backup) for backup in backups.values() if backup.exists()]
    if there:
        raise EdgeAgentError(f"nothing was written: {', '.join(there)} is there already; move it away")
    try:
        for file, backup in backups.items():
            shutil.copy2(file, backup)
        for file, (_, _, new) in changed.items():
            fresh = file.with_name(f".{file.name}.new")
            fresh.write_bytes(new.encode())
            shutil.copymode(file, fresh)
            found = file.stat()
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                os.chown(fresh, found.st_uid, found.st_gid)
            fresh.replace(file)
    except OSError as error:
        raise EdgeAgentError(f"{error.filename}: {error.strerror}; the backups beside the files are what they were") from error
