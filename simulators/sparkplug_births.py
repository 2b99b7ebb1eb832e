"""What a birth, data and a death have to look like, metric by metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulators.sparkplug_session import Described, Session
from simulators.sparkplug_wire import Metric, Payload

Must = Callable[[str | Sequence[str], bool, str], None]

_INT64, _BOOLEAN, _INT32 = 4, 11, 3
_BASIC = frozenset(range(1, 20))
_PROPERTY = _BASIC | {20, 21}
_ALL = _BASIC | frozenset(range(22, 35))
_QUALITY = frozenset({0, 192, 500})
_CARRIER = {3: "int", 4: "long", 7: "int", 8: "long", 9: "float", 10: "double", 11: "boolean", 12: "string", 13: "long"}


def judge_birth(must: Must, payload: Payload, session: Session, kind: str, device: str = "") -> Described:
    """Judge an ``nbirth`` or ``dbirth`` and return what it describes."""
    described = Described()
    using = any(metric.alias is not None for metric in payload.metrics)
    for metric in payload.metrics:
        name = metric.name or ""
        valued = metric.is_null != bool(metric.field)
        fits = metric.is_null or metric.datatype not in _CARRIER or _CARRIER[metric.datatype] == metric.field
        must("payloads-name-requirement", bool(name), "a metric of a birth has no name")
        must(f"topics-{kind}-metrics", bool(name) and metric.datatype is not None and valued and fits, f"{kind}: {name}: {metric}")
        must(
            f"operational-behavior-data-publish-{kind}-values",
            valued,
            f"{kind}: {name} is_null {metric.is_null}, value {metric.field}",
        )
        must("payloads-metric-datatype-req", metric.datatype is not None, f"{name} has no datatype")
        whole = ("payloads-metric-datatype-value", "payloads-metric-datatype-value-type")
        must(whole, metric.datatype in _ALL, f"{name} has datatype {metric.datatype}")
        must("payloads-name-birth-data-requirement", metric.timestamp is not None, f"{name} has no timestamp")
        if name != "Node Control/Rebirth":
            _alias(must, metric, session, described, f"{device}/{name}" if using else None)
        _properties(must, metric, birth=True)
        must("case-sensitivity-metric-names", name.lower() not in {each.lower() for each in described.types}, f"{name} twice")
        described.types[name] = metric.datatype
        described.told[name] = _told(metric)
    _order(must, payload, kind)
    if kind == "nbirth":
        _node_metrics(must, payload, described)
    return described


def _alias(must: Must, metric: Metric, session: Session, described: Described, owner: str | None) -> None:
    if owner is None:
        return
    must("payloads-alias-birth-requirement", metric.alias is not None, f"{metric.name} has no alias")
    if metric.alias is not None:
        known = session.aliases.setdefault(metric.alias, owner)
        must("payloads-alias-uniqueness", known == owner, f"alias {metric.alias} of {owner} belongs to {known}")
        described.aliases[metric.alias] = metric.name or ""


def _node_metrics(must: Must, payload: Payload, described: Described) -> None:
    by_name = {metric.name: metric for metric in payload.metrics}
    bdseq, rebirth = by_name.get("bdSeq"), by_name.get("Node Control/Rebirth")
    must(("topics-nbirth-bdseq-included", "payloads-nbirth-bdseq"), bdseq is not None, "no bdSeq")
    right = bdseq is not None and bdseq.datatype == _INT64
    must("message-flow-edge-node-birth-publish-nbirth-payload-bdSeq", right, f"bdSeq: {bdseq}")
    described.bdseq = None if bdseq is None else bdseq.value
    must("operational-behavior-data-commands-rebirth-name", rebirth is not None, "no Node Control/Rebirth")
    if rebirth is not None:
        must("operational-behavior-data-commands-rebirth-datatype", rebirth.datatype == _BOOLEAN, f"datatype {rebirth.datatype}")
        must("operational-behavior-data-commands-rebirth-name-aliases", rebirth.alias is None, f"alias {rebirth.alias}")
    false = rebirth is not None and rebirth.value is False
    names = ("topics-nbirth-rebirth-metric", "payloads-nbirth-rebirth-req", "operational-behavior-data-commands-rebirth-value")
    must(names, false, f"Node Control/Rebirth: {rebirth}")
    must("topics-nbirth-metric-reqs", bool(payload.metrics), "an empty NBIRTH")


def judge_data(must: Must, payload: Payload, session: Session, described: Described) -> None:
    """Judge an NDATA or DDATA against what its birth described."""
    using = bool(session.aliases)
    for metric in payload.metrics:
        name = metric.name if not using else described.aliases.get(metric.alias or -1)
        if using:
            alone = metric.alias is not None and metric.name is None
            must("payloads-alias-data-cmd-requirement", alone, f"alias {metric.alias}, name {metric.name}")
        else:
            must("payloads-name-requirement", bool(metric.name), "data without a name")
        names = ("topics-dbirth-metric-reqs", "operational-behavior-data-publish-dbirth")
        must(names, name in described.types, f"{name or metric.alias} is in no birth")
        must("payloads-metric-datatype-not-req", metric.datatype is None, f"{name} has a datatype")
        must("payloads-name-birth-data-requirement", metric.timestamp is not None, f"{name} has no timestamp")
        _properties(must, metric, birth=False)
        if not metric.is_historical and name in described.types:
            told = _told(metric)
            must(
                "operational-behavior-data-publish-dbirth-change", described.told.get(name) != told, f"{name} is {told[0]!r} still"
            )
            described.told[name] = told
    _order(must, payload, "dbirth")


def _told(metric: Metric) -> tuple[object, object]:
    quality = metric.property("Quality")
    return (None if metric.is_null else metric.value, 192 if quality is None else quality.value)


def _order(must: Must, payload: Payload, kind: str) -> None:
    times = [metric.timestamp or 0 for metric in payload.metrics if not metric.is_historical]
    must(f"operational-behavior-data-publish-{kind}-order", times == sorted(times), f"times {times}")


def _properties(must: Must, metric: Metric, *, birth: bool) -> None:
    if not metric.keys and not metric.properties:
        return
    sizes = ("payloads-propertyset-keys-array-size", "payloads-propertyset-values-array-size")
    must(
        sizes,
        len(metric.keys) == len(metric.properties),
        f"{metric.name}: {len(metric.keys)} keys, {len(metric.properties)} values",
    )
    for each in metric.properties:
        if birth:
            must("payloads-metric-propertyvalue-type-req", each.type is not None, f"{metric.name}: a property without a type")
        if each.type is not None:
            names = ("payloads-metric-propertyvalue-type-value", "payloads-metric-propertyvalue-type-type")
            must(names, each.type in _PROPERTY, f"{metric.name}: a property of type {each.type}")
    if (quality := metric.property("Quality")) is not None:
        must("payloads-propertyset-quality-value-type", quality.type == _INT32, f"{metric.name}: Quality of type {quality.type}")
        right = quality.field == "int" and quality.value in _QUALITY
        must("payloads-propertyset-quality-value-value", right, f"{metric.name}: Quality {quality.value}")


def judge_death(must: Must, payload: Payload) -> int | None:
    """Judge an NDEATH and return its bdSeq."""
    alone = len(payload.metrics) == 1 and payload.metrics[0].name == "bdSeq" and payload.metrics[0].datatype == _INT64
    must("topics-ndeath-payload", alone, f"{len(payload.metrics)} metrics")
    must(("topics-ndeath-seq", "payloads-ndeath-seq"), payload.seq is None, f"seq {payload.seq}")
    return payload.metrics[0].value if alone else None
