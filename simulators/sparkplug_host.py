"""What an edge node has to do in time: leave when its primary host has gone, and be born again when that is asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from simulators.sparkplug_births import Must
from simulators.sparkplug_session import Session

_AT_ONCE = 2.0
"""Seconds in which a node that has to go has gone."""
_GONE = ("message-flow-edge-node-birth-publish-phid-offline", "operational-behavior-edge-node-termination-host-offline")
_OLD_WORD = "operational-behavior-edge-node-termination-host-offline-timestamp"
_ALL_BORN = "operational-behavior-data-commands-rebirth-action-2"


def hear_state(must: Must, session: Session, line: Mapping[str, Any], at: float) -> None:
    """Take in what the primary host says of itself; a word older than the one before it changes nothing."""
    try:
        said = json.loads(base64.b64decode(line["payload64"]))
        online, timestamp = bool(said["online"]), int(said["timestamp"])
    except (ValueError, KeyError, TypeError):
        return
    if session.host_time is not None and timestamp < session.host_time:
        if not online and session.host_online:
            session.stale_offline = at
            must(_OLD_WORD, True, "")
        return
    session.host_online, session.host_time = online, timestamp
    if not online and session.born:
        session.away, session.stale_offline = at, None


def judge_end(must: Must, session: Session) -> None:
    """Judge the end of a connection."""
    if session.stale_offline is not None and (session.dead or session.leaving):
        must(_OLD_WORD, False, "left for an old offline")
    session.ended, session.away, session.asked = True, None, None


def judge_rebirth(must: Must, session: Session) -> None:
    """Judge whether all devices came back after the NBIRTH that a command asked for."""
    if session.reborn:
        missing = sorted(session.awaited)
        must(_ALL_BORN, not missing, f"not reborn: {missing}")
        session.reborn, session.awaited = False, set()


def judge_overdue(must: Must, session: Session, at: float) -> None:
    """Judge at second ``at`` what should have happened by then."""
    if session.asked is not None and at - session.asked > _AT_ONCE:
        must(_ALL_BORN, False, "no NBIRTH after a rebirth was asked for")
        session.asked = None
    if session.reborn and not session.awaited:
        judge_rebirth(must, session)
    if session.away is not None and (session.dead and session.leaving):
        must(_GONE, True, "")
        session.away = None
    elif session.away is not None and at - session.away > _AT_ONCE:
        must(_GONE, False, "the primary host is offline, and the node stays")
        session.away = None
    if session.stale_offline is not None and at - session.stale_offline > _AT_ONCE:
        session.stale_offline = None
