"""Whose the agent's keys and pins are: a command that root runs must leave nothing behind that the service cannot read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """As root, work as the user whom ``folder`` (or the nearest folder above that is there) belongs to.

    Where that user cannot come to it from here (systemd's DynamicUser: only root passes /var/lib/private) root does the work, and everything in the
    folder is given to the user afterwards. For everybody else this does nothing.
    """
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    owner = place.stat()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or owner.st_uid == 0:  # Windows has no users by number
        yield
        return
    group = os.getegid()
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        reachable = _reachable(place)
        if reachable:
            yield
    finally:
        os.seteuid(0)
        os.setegid(group)
    if not reachable:
        try:
            yield
        finally:
            _give(folder, owner.st_uid, owner.st_gid)


def _reachable(place: Path) -> bool:
    try:
        place.stat()
    except PermissionError:
        return False
    return True


def _give(folder: Path, user: int, group: int) -> None:
    for each in (folder, *folder.rglob("*")) if folder.exists() else ():
        os.chown(each, user, group, follow_symlinks=False)
