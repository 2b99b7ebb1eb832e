"""The address allow-list of the service, as a drop-in for systemd: the agent talks to its devices and brokers, and to nobody else."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent.cli.peers import Peer, addresses, peers
from edge_agent.config.schema import AgentConfig
from edge_agent.model.errors import EdgeAgentError

FOLDER = Path("/etc/systemd/system/edge-agent.service.d")
NAME = "addresses.conf"


def write(config: AgentConfig, folder: Path) -> Path:
    """Write the drop-in and return its path. Raises EdgeAgentError when another one is there, or a name cannot be resolved."""
    file, text = folder / NAME, drop_in(peers(config), addresses, name_servers())
    try:
        if file.exists():
            if file.read_text(encoding="utf-8") == text:
                return file
            raise EdgeAgentError(f"{file} is there already and says something else, so it was not changed; it should be:\n\n{text}")
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EdgeAgentError(f"{error.filename}: {error.strerror}; run it with sudo") from error
    return file


def drop_in(wanted: Sequence[Peer], resolve: Callable[[str], Sequence[str]], servers: Sequence[str]) -> str:
    """Return the text of the drop-in; ``servers`` are the name servers, which are allowed where a peer has a name. Raises EdgeAgentError."""
    lines = [
        "# Written by `edge-agent init --systemd`: the only addresses that the service may speak to (systemd.resource-control(5)).",
        "# When a name gets another address, or the configuration another device: remove this file and write it again.",
        "[Service]",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
    ]
    named = False
    for peer in wanted:
        try:
            found = resolve(peer.host)
        except OSError as error:
            raise EdgeAgentError(
                f"nothing was written: {peer.name}'s {peer.host} cannot be resolved ({error}); give its address, or mend the name service"
            ) from error
        named = named or not _is_address(peer.host)
        lines += [f"# {peer.name}: {peer.host}", *(f"IPAddressAllow={address}" for address in found)]
    if named:
        lines += ["# name servers", *(f"IPAddressAllow={address}" for address in servers)]
    return "\n".join([*lines, ""])


def name_servers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    """Return the name servers of this machine that are not itself."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = [name.partition("%")[0] for name in re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE)]
    return [name for name in found if _is_address(name) and not ipaddress.ip_address(name).is_loopback]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
