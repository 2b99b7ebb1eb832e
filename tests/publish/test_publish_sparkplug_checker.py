"""The checker itself: a sound recording has nothing against it, and each breach put into it is found under its statement's name."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest
from sparkplug_bench import NODE

from edge_agent.publish.sparkplug.descriptor import Payload
from edge_agent.publish.sparkplug.metric import Change, DataType, Metric, Sample, bare, birth, data, payload
from edge_agent.publish.sparkplug.names import state_topic
from edge_agent.publish.sparkplug.node import death
from simulators.sparkplug_check import Checker
from simulators.sparkplug_statements import STATEMENTS

_NOW = 1_793_000_000_000_000_000
_COUNT = Metric("Admin/Count/total/Total", DataType.INT64, "H87")
_SPEED = Metric("Status/CurMachSpeed", DataType.FLOAT)

Line = dict[str, Any]


def _b64(body: bytes) -> str:
    return base64.b64encode(body).decode()


class _Script:
    """Writes a sound recording, line by line."""

    def __init__(self, aliases: bool = False) -> None:
        self.lines: list[Line] = []
        self.at = 100.0
        self.aliases: dict[str, int] | None = {} if aliases else None
        self.seq = 0

    def add(self, who: str, what: str, link: int, **about: Any) -> None:
        self.at += 0.01
        self.lines.append({"at": self.at, "link": link, "from": who, "what": what, **about})

    def say(self, link: int, verb: str, metrics: list[Any], device: str | None = None, qos: int = 0) -> None:
        body = payload(metrics, _NOW, None if verb == "NDEATH" else self.seq)
        if verb != "NDEATH":
            self.seq = (self.seq + 1) % 256
        self.add("client", "publish", link, topic=NODE.topic(verb, device), qos=qos, retain=False, dup=False, payload64=_b64(body))

    def state(self, link: int, online: bool, timestamp: int) -> None:
        body = f'{{"online":{str(online).lower()},"timestamp":{timestamp}}}'.encode()
        self.add("broker", "publish", link, topic=state_topic("scada"), qos=1, retain=False, dup=False, payload64=_b64(body))

    def connect(self, link: int, bdseq: int, version: int = 5) -> None:
        will = {"topic": NODE.topic("NDEATH"), "qos": 1, "retain": False, "delay": 0, "payload64": _b64(death(bdseq, _NOW))}
        self.add("client", "connect", link, client="n", version=version, clean=True, expiry=0, will=will)
        self.add("broker", "connack", link, code=0)
        self.add("client", "subscribe", link, filters=[[NODE.topic("NCMD"), 1], [state_topic("scada"), 1]])

    def births(self, link: int, bdseq: int) -> None:
        self.seq = 0
        own = [(Metric("bdSeq", DataType.INT64), Sample(bdseq, _NOW))]
        self._alias("", [_SPEED])
        if self.aliases is not None:
            self.aliases.setdefault("bdSeq", len(self.aliases) + 1)
        self.say(link, "NBIRTH", [*birth(own, self.aliases), bare("Node Control/Rebirth", DataType.BOOLEAN, False, _NOW)])
        for device in ("capper", "filler"):
            self.born(link, device)

    def _alias(self, own: str, metrics: list[Metric]) -> None:
        for metric in metrics if self.aliases is not None else ():
            self.aliases.setdefault(own + metric.name, len(self.aliases) + 1)

    def born(self, link: int, device: str) -> None:
        self._alias(f"{device}/", [_COUNT, _SPEED])
        values = [(_COUNT, Sample(0, _NOW)), (_SPEED, Sample(None, _NOW))]
        self.say(link, "DBIRTH", birth(values, self.aliases, f"{device}/"), device)

    def count(self, link: int, device: str, value: int) -> None:
        changes = [
            Change(_COUNT, Sample(value, _NOW + value * 1_000_000)),
            Change(_SPEED, Sample(value / 2, _NOW + value * 1_000_000)),
        ]
        self.say(link, "DDATA", data(changes, self.aliases, f"{device}/"), device)

    def leave(self, link: int, bdseq: int) -> None:
        self.say(link, "NDEATH", [bare("bdSeq", DataType.INT64, bdseq, _NOW)], qos=1)
        self.add("client", "disconnect", link, code=4)
        self.add("client", "end", link)


def _sound(aliases: bool = False) -> list[Line]:
    script = _Script(aliases)
    script.connect(1, 0)
    script.state(1, True, 1000)
    script.births(1, 0)
    for value in range(1, 5):
        script.count(1, "filler", value)
    command = Payload(timestamp=1)
    command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    body = _b64(command.SerializeToString())
    script.add("broker", "publish", 1, topic=NODE.topic("NCMD"), qos=0, retain=False, dup=False, payload64=body)
    script.births(1, 0)
    script.count(1, "capper", 1)
    script.say(1, "DDEATH", [], "capper")
    script.born(1, "capper")
    script.count(1, "capper", 2)
    script.state(1, False, 999)
    script.count(1, "capper", 3)
    script.at += 3
    script.count(1, "capper", 4)
    script.state(1, False, 1001)
    script.leave(1, 0)
    script.connect(2, 1)
    script.state(2, True, 1002)
    script.births(2, 1)
    script.count(2, "filler", 1)
    script.leave(2, 1)
    return script.lines


def _verdict(lines: list[Line]) -> Checker:
    checker = Checker("scada", fresh=True)
    checker.check(lines)
    return checker


@pytest.mark.parametrize("aliases", [False, True])
def test_a_sound_recording_has_nothing_against_it(aliases):
    """The script breaks nothing, and gives most statements something to be judged by."""
    checker = _verdict(_sound(aliases))
    assert not checker.breaches
    assert len(checker.judged) > 100


def _nth(lines: list[Line], verb: str, n: int = 0) -> int:
    return [i for i, line in enumerate(lines) if line["what"] == "publish" and f"/{verb}/" in line["topic"]][n]


def _will(**changes: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[0]["will"].update(changes)


def _set(verb: str, n: int = 0, **changes: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[_nth(lines, verb, n)].update(changes)


def _drop(verb: str, n: int = 0) -> Callable[[list[Line]], None]:
    return lambda lines: lines.pop(_nth(lines, verb, n)) and None


def _repack(verb: str, change: Callable[[Any], Any], n: int = 0) -> Callable[[list[Line]], None]:
    def act(lines: list[Line]) -> None:
        line = lines[_nth(lines, verb, n)]
        body = Payload.FromString(base64.b64decode(line["payload64"]))
        change(body)
        line["payload64"] = _b64(body.SerializeToString())

    return act


def _first(field: str, value: Any) -> Callable[[Any], None]:
    return lambda body: setattr(body.metrics[0], field, value)


def _clear(field: str, place: int = 0) -> Callable[[Any], None]:
    return lambda body: body.metrics[place].ClearField(field)


def _wipe(body: Any) -> None:
    body.ClearField("timestamp")


def _rebirth_true(body: Any) -> None:
    next(metric for metric in body.metrics if metric.name == "Node Control/Rebirth").boolean_value = True


def _out_of_order(body: Any) -> None:
    body.metrics[0].timestamp += 50


def _quality(value: int) -> Callable[[Any], None]:
    return lambda body: setattr(body.metrics[0].properties.values[0], "int_value", value)


def _second_key(body: Any) -> None:
    body.metrics[0].properties.keys.append("one too many")


def _same_value(lines: list[Line]) -> None:
    first, second = _nth(lines, "DDATA", 0), _nth(lines, "DDATA", 1)
    again = Payload.FromString(base64.b64decode(lines[first]["payload64"]))
    again.seq += 1
    lines[second]["payload64"] = _b64(again.SerializeToString())


def _late_data(lines: list[Line]) -> None:
    """Data one second after the command, before the births; the numbers stay right."""
    place = _nth(lines, "NCMD")
    line = copy.deepcopy(lines[_nth(lines, "DDATA", 3)])
    body = Payload.FromString(base64.b64decode(line["payload64"]))
    body.seq += 1
    body.metrics[0].long_value += 1
    body.metrics[1].float_value += 1
    line["payload64"], line["at"] = _b64(body.SerializeToString()), lines[place]["at"] + 1.0
    lines.insert(place + 1, line)


def _stays(lines: list[Line]) -> None:
    """The node ignores an offline of its host: everything up to the next connection is moved three seconds away."""
    start = next(i for i, line in enumerate(lines) if line["what"] == "disconnect") - 1
    for line in lines[start:]:
        line["at"] += 3


def _leaves_for_an_old_word(lines: list[Line]) -> None:
    stale = [i for i, line in enumerate(lines) if line["what"] == "publish" and "/STATE/" in line["topic"]][1]
    away = next(i for i, line in enumerate(lines) if line["what"] == "disconnect") - 1
    del lines[stale + 1 : away]
    for line in lines[stale + 1 :]:
        line["at"] -= 3


def _early_birth(lines: list[Line]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def _two_at_once(lines: list[Line]) -> None:
    del lines[next(i for i, line in enumerate(lines) if line["what"] == "end")]


def _no_ndeath(lines: list[Line]) -> None:
    del lines[next(i for i, line in enumerate(lines) if line["what"] == "disconnect") - 1]


_CASES: dict[str, tuple[str, Callable[[list[Line]], None]]] = {
    "no clean start": ("principles-persistence-clean-session-50", lambda lines: lines[0].update(expiry=30)),
    "no will": ("payloads-ndeath-will-message", lambda lines: lines[0].update(will=None)),
    "will of QoS 0": ("payloads-ndeath-will-message-qos", _will(qos=0)),
    "retained will": ("payloads-ndeath-will-message-retain", _will(retain=True)),
    "will elsewhere": ("topics-ndeath-topic", _will(topic="spBv1.0/acme_plant1/DEATH/gw-l3")),
    "will without bdSeq": ("topics-ndeath-payload", _will(payload64=_b64(payload([], _NOW, None)))),
    "will with seq": ("payloads-ndeath-seq", _will(payload64=_b64(payload([bare("bdSeq", DataType.INT64, 0, _NOW)], _NOW, 0)))),
    "will of noise": ("message-flow-edge-node-birth-publish-will-message-payload", _will(payload64=_b64(b"\xff\xff"))),
    "bdSeq begins at 7": ("topics-nbirth-bdseq-increment", _will(payload64=_b64(death(7, _NOW)))),
    "bdSeq repeats": ("message-flow-edge-node-birth-publish-will-message-payload-bdSeq", lambda lines: next(
        line for line in lines if line["what"] == "connect" and line["link"] == 2)["will"].update(payload64=_b64(death(0, _NOW)))),
    "NBIRTH with another bdSeq": ("topics-nbirth-bdseq-matching", _repack("NBIRTH", _first("long_value", 9))),
    "NDEATH with another bdSeq": ("payloads-ndeath-bdseq", _repack("NDEATH", _first("long_value", 9))),
    "no NCMD subscription": ("message-flow-edge-node-ncmd-subscribe", lambda lines: lines[2].update(filters=[[state_topic("scada"), 1]])),
    "NCMD at QoS 0": ("message-flow-edge-node-ncmd-subscribe", lambda lines: lines[2]["filters"][0].__setitem__(1, 0)),
    "NBIRTH of QoS 1": ("payloads-nbirth-qos", _set("NBIRTH", qos=1)),
    "retained NBIRTH": ("payloads-nbirth-retain", _set("NBIRTH", retain=True)),
    "NBIRTH with seq 3": ("topics-nbirth-seq-num", _repack("NBIRTH", lambda body: setattr(body, "seq", 3))),
    "NBIRTH without time": ("topics-nbirth-timestamp", _repack("NBIRTH", _wipe)),
    "no rebirth metric": ("operational-behavior-data-commands-rebirth-name", _repack("NBIRTH", lambda body: body.metrics.pop(1))),
    "rebirth is true": ("topics-nbirth-rebirth-metric", _repack("NBIRTH", _rebirth_true)),
    "bdSeq is no Int64": ("message-flow-edge-node-birth-publish-nbirth-payload-bdSeq", _repack("NBIRTH", _first("datatype", 8))),
    "a lost message": ("payloads-sequence-num-incrementing", _drop("DDATA", 1)),
    "a lost DDEATH": ("payloads-dbirth-seq-inc", _drop("DDEATH")),
    "no seq": ("payloads-sequence-num-always-included", _repack("DDATA", lambda body: body.ClearField("seq"))),
    "DBIRTH first": ("message-flow-device-birth-publish-nbirth-wait", _drop("NBIRTH")),
    "data without birth": ("payloads-ddata-order", _drop("DBIRTH", 1)),
    "a metric of no birth": ("topics-dbirth-metric-reqs", _repack("DDATA", _first("name", "Unheard/Of"))),
    "DBIRTH of QoS 1": ("topics-dbirth-mqtt", _set("DBIRTH", qos=1)),
    "retained DDATA": ("topics-ddata-mqtt", _set("DDATA", retain=True)),
    "metric without type": ("payloads-metric-datatype-req", _repack("DBIRTH", _clear("datatype"))),
    "metric of type 99": ("payloads-metric-datatype-value", _repack("DBIRTH", _first("datatype", 99))),
    "metric without name": ("payloads-name-requirement", _repack("DBIRTH", _clear("name"))),
    "metric without value": ("operational-behavior-data-publish-dbirth-values", _repack("DBIRTH", _clear("long_value"))),
    "null with a value": ("operational-behavior-data-publish-dbirth-values", _repack("DBIRTH", _first("is_null", True))),
    "metric without time": ("payloads-name-birth-data-requirement", _repack("DDATA", _clear("timestamp"))),
    "datatype in data": ("payloads-metric-datatype-not-req", _repack("DDATA", _first("datatype", 4))),
    "out of order": ("operational-behavior-data-publish-dbirth-order", _repack("DDATA", _out_of_order)),
    "no change": ("operational-behavior-data-publish-dbirth-change", _same_value),
    "quality 42": ("payloads-propertyset-quality-value-value", _repack("DBIRTH", _quality(42))),
    "a key too many": ("payloads-propertyset-keys-array-size", _repack("DBIRTH", _second_key)),
    "data after a rebirth": ("operational-behavior-data-commands-rebirth-action-1", _late_data),
    "half a rebirth": ("operational-behavior-data-commands-rebirth-action-2", _drop("DBIRTH", 3)),
    "another bdSeq after a rebirth": ("operational-behavior-data-commands-rebirth-action-3", _repack("NBIRTH", _first("long_value", 1), 1)),
    "born before the host": ("message-flow-edge-node-birth-publish-phid-wait", _early_birth),
    "stays without the host": ("message-flow-edge-node-birth-publish-phid-offline", _stays),
    "leaves for an old word": ("operational-behavior-edge-node-termination-host-offline-timestamp", _leaves_for_an_old_word),
    "two connections": ("operational-behavior-primary-application-state-with-multiple-servers-single-server", _two_at_once),
    "goes without NDEATH": ("operational-behavior-edge-node-intentional-disconnect-ndeath", _no_ndeath),
    "plain DISCONNECT": ("payloads-ndeath-will-message-publisher-disconnect-mqtt50", lambda lines: next(
        line for line in lines if line["what"] == "disconnect").update(code=0)),
    "a command of its own": ("topic-structure", lambda lines: lines[_nth(lines, "DDATA")].update(topic=NODE.topic("NCMD"))),
    "other namespace": ("topic-structure-namespace-a", lambda lines: lines[_nth(lines, "DDATA")].update(
        topic=lines[_nth(lines, "DDATA")]["topic"].replace("spBv1.0", "spAv1.0"))),
    "N message with a device": ("topic-structure-namespace-device-id-non-associated-message-types", lambda lines: lines[
        _nth(lines, "NBIRTH")].update(topic=NODE.topic("NBIRTH", "filler"))),
    "D message without a device": ("topic-structure-namespace-device-id-associated-message-types", lambda lines: lines[
        _nth(lines, "DBIRTH")].update(topic=NODE.topic("DBIRTH"))),
    "ids by case": ("case-sensitivity-sparkplug-ids", lambda lines: lines[_nth(lines, "DBIRTH")].update(topic=NODE.topic("DBIRTH", "Filler"))),
    "DBIRTH of another node": ("message-flow-device-birth-publish-dbirth-match-edge-node-topic", lambda lines: lines[
        _nth(lines, "DBIRTH")].update(topic="spBv1.0/acme_plant1/DBIRTH/gw-l4/capper")),
}  # fmt: skip


@pytest.mark.parametrize("name", _CASES)
def test_a_seeded_breach_is_named(name):
    """Each way to break the specification is reported under the statement that it breaks."""
    statement, act = _CASES[name]
    lines = copy.deepcopy(_sound())
    act(lines)
    assert f"tck-id-{statement}" in {breach.statement for breach in _verdict(lines).breaches}


_ALIASED: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "same alias twice": ("payloads-alias-uniqueness", _first("alias", 2), "DBIRTH"),
    "birth without alias": ("payloads-alias-birth-requirement", _clear("alias"), "DBIRTH"),
    "data with a name": ("payloads-alias-data-cmd-requirement", _first("name", "Admin/Count/total/Total"), "DDATA"),
    "alias for rebirth": (
        "operational-behavior-data-commands-rebirth-name-aliases",
        lambda body: setattr(body.metrics[1], "alias", 77),
        "NBIRTH",
    ),
}


@pytest.mark.parametrize("name", _ALIASED)
def test_a_seeded_breach_with_aliases_is_named(name):
    """The statements on aliases are judged, too."""
    statement, change, verb = _ALIASED[name]
    lines = copy.deepcopy(_sound(aliases=True))
    _repack(verb, change)(lines)
    assert f"tck-id-{statement}" in {breach.statement for breach in _verdict(lines).breaches}


def test_statements_have_words():
    """Every statement that can be judged says in words what it asks."""
    assert all(text and name.startswith("tck-id-") for name, text in STATEMENTS.items())
    assert len(STATEMENTS) > 120
