"""What the specification asks of topics, of the will and of what every message carries."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from simulators.sparkplug_births import Must, judge_death
from simulators.sparkplug_session import Session
from simulators.sparkplug_wire import MalformedError, Payload, read


def decode(must: Must, line: Mapping[str, Any], statement: str | None) -> Payload | None:
    """Return the payload of a message; what is none breaks ``statement``, or else the structure of Sparkplug's topics."""
    try:
        found, trouble = read(base64.b64decode(line["payload64"])), ""
    except MalformedError as error:
        found, trouble = None, str(error)
    if statement is not None:
        must(statement, found is not None, trouble)
    elif found is None:
        must("topic-structure", False, f"{line['topic']} is no Sparkplug payload: {trouble}")
    return found


def judge_session(must: Must, line: Mapping[str, Any]) -> None:
    """Judge that nothing of the session outlives its connection."""
    if line["version"] == 5:
        clean = line["clean"] and line["expiry"] == 0
        must("principles-persistence-clean-session-50", clean, f"clean {line['clean']}, expiry {line['expiry']}")
    else:
        must("principles-persistence-clean-session-311", line["clean"], "no clean session")


def judge_will(must: Must, session: Session, will: Mapping[str, Any], before: int | None) -> int | None:
    """Judge the will of a CONNECT that follows one with bdSeq ``before``; return its own bdSeq."""
    levels = will["topic"].split("/")
    shape = len(levels) == 4 and levels[0] == "spBv1.0" and levels[2] == "NDEATH"
    must(("message-flow-edge-node-birth-publish-will-message-topic", "topics-ndeath-topic"), shape, will["topic"])
    qos = ("message-flow-edge-node-birth-publish-will-message-qos", "payloads-ndeath-will-message-qos")
    must(qos, will["qos"] == 1, f"QoS {will['qos']}")
    kept = ("message-flow-edge-node-birth-publish-will-message-will-retained", "payloads-ndeath-will-message-retain")
    must(kept, not will["retain"], "the will is retained")
    if shape:
        session.group, session.node = levels[1], levels[3]
    payload = decode(must, will, "message-flow-edge-node-birth-publish-will-message-payload")
    if payload is None:
        return before
    bdseq = judge_death(must, payload)
    expected = None if before is None else (before + 1) % 256
    right = bdseq is not None and (expected is None or bdseq == expected)
    names = ("message-flow-edge-node-birth-publish-will-message-payload-bdSeq", "topics-nbirth-bdseq-increment")
    must(names, right, f"bdSeq {bdseq}, expected {expected}")
    session.bdseq = bdseq
    return bdseq


def judge_names(must: Must, ids: dict[str, str], levels: Sequence[str], verb: str, device: str | None) -> None:
    """Judge the ids of a topic; ``ids`` remembers how each was written."""
    for name, text in zip(("group-id", "edge-node-id"), (levels[1], levels[3]), strict=True):
        must(f"topic-structure-namespace-valid-{name}", bool(text) and not {"+", "#"} & set(text), text)
    if verb[0] == "D":
        must("topic-structure-namespace-device-id-associated-message-types", device is not None, verb)
        must("topic-structure-namespace-valid-device-id", bool(device) and not {"+", "#"} & set(device or ""), str(device))
    else:
        must("topic-structure-namespace-device-id-non-associated-message-types", device is None, verb)
    for text in (levels[1], levels[3], *([device] if device else [])):
        known = ids.setdefault(text.lower(), text)
        must("case-sensitivity-sparkplug-ids", known == text, f"{known} and {text}")


def judge_number(must: Must, session: Session, verb: str, line: Mapping[str, Any], payload: Payload) -> None:
    """Judge what every numbered message has: QoS, retain, timestamp and seq."""
    low = verb.lower()
    must(f"topics-{low}-topic", line["topic"].count("/") == (4 if verb[0] == "D" else 3), line["topic"])
    must(f"topics-{low}-mqtt", line["qos"] == 0 and not line["retain"], f"QoS {line['qos']}, retain {line['retain']}")
    if verb != "DDEATH":
        must(f"payloads-{low}-qos", line["qos"] == 0, f"QoS {line['qos']}")
        must(f"payloads-{low}-retain", not line["retain"], "retained")
        must(f"topics-{low}-timestamp", payload.timestamp is not None, "no timestamp")
    must(f"payloads-{low}-timestamp", payload.timestamp is not None, "no timestamp")
    included = ("payloads-sequence-num-always-included", f"payloads-{low}-seq")
    must(included, payload.seq is not None and payload.seq <= 255, f"{verb}: seq {payload.seq}")
    if verb == "NBIRTH":
        names = ("topics-nbirth-seq-num", "payloads-sequence-num-req-nbirth")
        must(names, payload.seq == 0, f"NBIRTH: seq {payload.seq}")
    else:
        expected = None if session.seq is None else (session.seq + 1) % 256
        number = {"DBIRTH": "topics-dbirth-seq"}.get(verb, f"topics-{low}-seq-num")
        must(
            ("payloads-sequence-num-incrementing", f"payloads-{low}-seq-inc", number),
            payload.seq == expected,
            f"{verb}: seq {payload.seq}, expected {expected}",
        )
    session.seq = payload.seq
