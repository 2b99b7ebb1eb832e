"""What a command run by root makes belongs to the user of the service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.cli.owner import as_owner

SERVICE = 12345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as somebody else")


def _make(folder: Path) -> list[int]:
    """Make a file in a folder of the service, as the command does; return who it belongs to, and who worked."""
    with as_owner(folder):
        worker = os.geteuid()
        (folder / "own").mkdir(parents=True)
        (folder / "own" / "key.pem").write_text("key", encoding="utf-8")
    assert os.geteuid() == 0
    return [worker, *(each.stat().st_uid for each in (folder, folder / "own", folder / "own" / "key.pem"))]


def test_where_the_user_can_come_the_work_is_done_as_that_user(tmp_path: Path) -> None:
    """The folder above belongs to the service, and so does all that is made in it."""
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, SERVICE, SERVICE)
    assert _make(state / "pki") == [SERVICE] * 4


def test_behind_a_door_that_only_root_passes_the_files_are_given_away(tmp_path: Path) -> None:
    """As below /var/lib/private."""
    private = tmp_path / "private"
    (private / "state").mkdir(parents=True)
    private.chmod(0o700)
    os.chown(private / "state", SERVICE, SERVICE)
    assert _make(private / "state" / "pki") == [0, SERVICE, SERVICE, SERVICE]
