"""Holds a recording of an edge node against Sparkplug 3.0: ``python -m simulators.sparkplug_check FILE [--host HOST] [--fresh]``.

FILE is what `mqtt_recorder` wrote. Every line of it is judged by the statements in `sparkplug_statements`; each breach names its statement, and at the end
stands which statements had something to be judged by. Knows nothing of the program that made the recording.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from simulators.sparkplug_births import judge_birth, judge_data, judge_death
from simulators.sparkplug_host import hear_state, judge_end, judge_overdue, judge_rebirth
from simulators.sparkplug_session import Described, Session
from simulators.sparkplug_statements import STATEMENTS
from simulators.sparkplug_topics import decode, judge_names, judge_number, judge_session, judge_will
from simulators.sparkplug_wire import Payload

_FLIGHT = 0.25
"""Seconds in which what was on its way when a command came may still arrive."""
_VERBS = {"NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA"}
"""What an edge node says; commands are what it hears."""


class Breach(NamedTuple):
    """One statement that was broken: where in the recording (line, from 1), and how."""

    statement: str
    line: int
    how: str


class Checker:
    """Takes the lines of a recording in and keeps what it finds. ``host``: the primary host; ``fresh``: the recording begins with the first CONNECT ever."""

    def __init__(self, host: str | None = None, *, fresh: bool = False) -> None:
        self.breaches: list[Breach] = []
        self.judged: Counter[str] = Counter()
        self._host = None if host is None else f"spBv1.0/STATE/{host}"
        self._sessions: dict[int, Session] = {}
        self._bdseq: int | None = -1 if fresh else None
        self._ids: dict[str, str] = {}
        self._line = 0
        self._at = 0.0

    def must(self, statements: str | Sequence[str], holds: bool, how: str) -> None:
        """Judge one or several statements (without ``tck-id-``) by one fact."""
        for name in (statements,) if isinstance(statements, str) else statements:
            full = f"tck-id-{name}"
            if full not in STATEMENTS:
                raise KeyError(full)
            self.judged[full] += 1
            if not holds:
                self.breaches.append(Breach(full, self._line, how))

    def check(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Judge a whole recording."""
        for number, line in enumerate(lines, 1):
            self._line, self._at = number, line["at"]
            session = self._sessions.setdefault(line["link"], Session(line["link"]))
            judge_overdue(self.must, session, self._at)
            handler = getattr(self, f"_{line['from']}_{line['what']}", None)
            if handler is not None:
                handler(session, line)
        for session in self._sessions.values():
            judge_rebirth(self.must, session)

    # -- the client ------------------------------------------------------------------------------------------------

    def _client_connect(self, session: Session, line: Mapping[str, Any]) -> None:
        others = [each.link for each in self._sessions.values() if each is not session and not each.ended]
        one = "operational-behavior-primary-application-state-with-multiple-servers-single-server"
        self.must(one, not others, f"connections {others} are open, too")
        session.version = line["version"]
        judge_session(self.must, line)
        will = line["will"]
        self.must(
            ("message-flow-edge-node-birth-publish-will-message", "payloads-ndeath-will-message"), will is not None, "no will"
        )
        if will is not None:
            self._bdseq = judge_will(self.must, session, will, self._bdseq)

    def _client_subscribe(self, session: Session, line: Mapping[str, Any]) -> None:
        session.filters |= dict(line["filters"])

    def _client_publish(self, session: Session, line: Mapping[str, Any]) -> None:
        topic, levels = line["topic"], line["topic"].split("/")
        self.must("topic-structure-namespace-a", levels[0] == "spBv1.0", topic)
        verb = levels[2] if len(levels) > 2 else ""
        self.must("topic-structure", len(levels) in {4, 5} and verb in _VERBS, topic)
        if verb not in _VERBS:
            return
        device = levels[4] if len(levels) == 5 else None
        judge_names(self.must, self._ids, levels, verb, device)
        mine = (levels[1], levels[3]) == (session.group, session.node)
        if verb == "DBIRTH":
            self.must("message-flow-device-birth-publish-dbirth-match-edge-node-topic", mine, topic)
        judge = {"NBIRTH": self._nbirth, "NDEATH": self._ndeath, "DBIRTH": self._dbirth, "DDEATH": self._ddeath}.get(
            verb, self._data
        )
        payload = decode(self.must, line, _DECODED.get(verb))
        if payload is not None:
            if verb != "NDEATH":
                judge_number(self.must, session, verb, line, payload)
            judge(session, device or "", payload)

    def _client_disconnect(self, session: Session, line: Mapping[str, Any]) -> None:
        if session.born:
            last = ("operational-behavior-edge-node-intentional-disconnect-ndeath", "payloads-ndeath-will-message-publisher")
            self.must(last, session.dead, "a DISCONNECT without an NDEATH")
            if session.version != 5:
                self.must(
                    "payloads-ndeath-will-message-publisher-disconnect-mqtt311", session.dead, "a DISCONNECT without an NDEATH"
                )
        if session.version == 5:
            self.must("payloads-ndeath-will-message-publisher-disconnect-mqtt50", line["code"] == 4, f"reason 0x{line['code']:02X}")
        session.leaving = True

    def _client_end(self, session: Session, _: Mapping[str, Any]) -> None:
        judge_end(self.must, session)

    def _broker_end(self, session: Session, _: Mapping[str, Any]) -> None:
        judge_end(self.must, session)

    # -- the broker ------------------------------------------------------------------------------------------------

    def _broker_connack(self, session: Session, line: Mapping[str, Any]) -> None:
        session.accepted = line["code"] == 0

    def _broker_publish(self, session: Session, line: Mapping[str, Any]) -> None:
        if line["topic"] == self._host:
            hear_state(self.must, session, line, self._at)
        elif line["topic"] == f"spBv1.0/{session.group}/NCMD/{session.node}" and session.born:
            payload = decode(self.must, line, None)
            if payload and any(each.name == "Node Control/Rebirth" and each.value is True for each in payload.metrics):
                session.asked, session.awaited = self._at, set(session.devices)

    # -- messages --------------------------------------------------------------------------------------------------

    def _nbirth(self, session: Session, _: str, payload: Payload) -> None:
        self.must("message-flow-edge-node-birth-publish-connect", session.accepted, "no CONNACK")
        command = f"spBv1.0/{session.group}/NCMD/{session.node}"
        self.must("message-flow-edge-node-ncmd-subscribe", session.filters.get(command) == 1, f"subscribed: {session.filters}")
        if self._host is not None:
            there = self._host in session.filters
            self.must("operational-behavior-primary-application-state-with-multiple-servers-state-subs", there, "no STATE")
            self.must(_WAIT, session.host_online, "born without the primary host")
        again = session.born
        session.begin()
        described = judge_birth(self.must, payload, session, "nbirth")
        same = described.bdseq == session.bdseq
        names = ("topics-nbirth-bdseq-matching", "payloads-nbirth-bdseq-repeat", "payloads-ndeath-bdseq")
        self.must(names, same, f"bdSeq {described.bdseq}, the will says {session.bdseq}")
        if again and session.asked is not None:
            self.must("operational-behavior-data-commands-rebirth-action-3", same, f"bdSeq {described.bdseq} after a rebirth")
            session.asked, session.reborn = None, True
        session.node_metrics = described

    def _ndeath(self, session: Session, _: str, payload: Payload) -> None:
        bdseq = judge_death(self.must, payload)
        self.must("payloads-ndeath-bdseq", bdseq == session.bdseq, f"NDEATH: bdSeq {bdseq}, born with {session.bdseq}")
        session.dead = True

    def _dbirth(self, session: Session, device: str, payload: Payload) -> None:
        names = ("message-flow-device-birth-publish-nbirth-wait", "principles-birth-certificates-order")
        self.must(names, session.born and not session.dead, f"DBIRTH of {device} before the NBIRTH")
        session.devices[device] = judge_birth(self.must, payload, session, "dbirth", device)
        session.awaited.discard(device)

    def _ddeath(self, session: Session, device: str, _: Payload) -> None:
        self.must("principles-birth-certificates-order", device in session.devices, f"DDEATH of {device}, which was not born")
        session.devices.pop(device, None)
        session.awaited.discard(device)

    def _data(self, session: Session, device: str, payload: Payload) -> None:
        described: Described | None = session.devices.get(device) if device else session.node_metrics
        names = ("payloads-ddata-order", "principles-birth-certificates-order")
        self.must(
            names, session.born and not session.dead and described is not None, f"data of {device or 'the node'} before its birth"
        )
        if session.asked is not None:
            late = self._at - session.asked > _FLIGHT
            self.must("operational-behavior-data-commands-rebirth-action-1", not late, "data after a rebirth was asked for")
        if session.awaited and session.reborn:
            judge_rebirth(self.must, session)
        if described is not None:
            judge_data(self.must, payload, session, described)


_WAIT = (
    "message-flow-edge-node-birth-publish-phid-wait",
    "message-flow-edge-node-birth-publish-phid-wait-id",
    "message-flow-edge-node-birth-publish-phid-wait-online",
    "message-flow-edge-node-birth-publish-phid-wait-timestamp",
    "operational-behavior-edge-node-birth-sequence-wait",
)
_DECODED = {
    "NBIRTH": "message-flow-edge-node-birth-publish-nbirth-payload",
    "DBIRTH": "message-flow-device-birth-publish-dbirth-payload",
}


def read_recording(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a recording."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def report(checker: Checker) -> str:
    """Return the verdict in words: each breach, what was judged, what had nothing to be judged by, and the count last."""
    lines = [f"line {each.line}: {each.statement}: {each.how}" for each in checker.breaches]
    lines += [f"  {name} ({checker.judged[name]}x): {text}" for name, text in STATEMENTS.items() if checker.judged[name]]
    idle = [name for name in STATEMENTS if not checker.judged[name]]
    lines += [f"  not met in this recording: {name}" for name in idle]
    lines.append(f"{len(checker.breaches)} violations of {len(STATEMENTS) - len(idle)} statements judged")
    return "\n".join(lines)


def main() -> int:
    """Check a recording; the exit code is 1 when a statement is broken."""
    parser = argparse.ArgumentParser(prog="python -m simulators.sparkplug_check", description="Judges a recording of an edge node.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", help="id of the primary host that the node waits for")
    parser.add_argument("--fresh", action="store_true", help="the recording begins with the node's first CONNECT ever")
    options = parser.parse_args()
    checker = Checker(options.host, fresh=options.fresh)
    checker.check(read_recording(options.file))
    print(report(checker))
    return 1 if checker.breaches else 0


if __name__ == "__main__":
    raise SystemExit(main())
