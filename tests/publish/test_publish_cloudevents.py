"""The envelope: exactly the contract, the stored body untouched."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from publish_setting import EPOCH, STREAMS

from edge_agent.model.equipment import EquipmentPath
from edge_agent.model.instant import iso
from edge_agent.model.stream import Entry, Record, RecordKey, record_id
from edge_agent.publish.cloudevents import Encoder, _instant
from edge_agent.publish.topics import Topics

SCHEMA = "urn:edge-agent:schema:{name}:{version}"
ENCODER = Encoder(STREAMS, prefix="edgeagent", schema=SCHEMA, per_type=False)
BASE = "edge/v1/acme/plant1/packaging/line3/filler"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_the_envelope_to_the_byte(record):
    """The whole message of one count, as a consumer sees it."""
    message = ENCODER.encode(
        record(1234, body=b'{"delta":1,"big":"18446744073709551615"}', correlation="WO-1001", causation="filler/downtime/7")
    )
    assert message.topic == f"{BASE}/_event"
    assert message.payload.decode() == (
        '{"specversion":"1.0","id":"01JB2K7Z0000000000000000XY-filler-000000001234","source":"/acme/plant1/gw-l3/filler",'
        '"type":"edgeagent.production.count.v1","subject":"acme/plant1/packaging/line3/filler",'
        '"time":"2026-10-26T07:33:20.250000Z","recordedtime":"2026-10-26T07:33:20.301000Z","sequence":"00000000000000001234",'
        '"partitionkey":"filler","correlationid":"WO-1001","causationid":"filler/downtime/7",'
        '"datacontenttype":"application/json","dataschema":"urn:edge-agent:schema:production.count:1.0",'
        '"data":{"epoch":"01JB2K7Z0000000000000000XY","seq":1234,"delta":1,"big":"18446744073709551615"}}'
    )


@given(
    body=st.dictionaries(st.text(max_size=5).filter(lambda name: name not in {"epoch", "seq"}), JSON, max_size=4),
    seq=st.integers(1, 2**63 - 1),
    times=st.tuples(st.integers(0, 4 * 10**18), st.integers(0, 4 * 10**18)),
    order=st.none() | st.text(max_size=10),
    cause=st.none() | st.text(max_size=10),
)
def test_any_record_becomes_the_same_object(body, seq, times, order, cause):
    """Whatever stands in names, orders and body, the JSON says it and nothing else (against a plain dictionary)."""
    key = RecordKey("filler", EPOCH, seq)
    entry = Entry("filler", "E", "edgeagent.production.count.v1", *times, msgspec.json.encode(body), order, cause)
    expected = {
        "specversion": "1.0", "id": record_id(key), "source": "/acme/plant1/gw-l3/filler", "type": entry.type,
        "subject": "acme/plant1/packaging/line3/filler", "time": iso(times[0]), "recordedtime": iso(times[1]),
        "sequence": f"{seq:020d}", "partitionkey": "filler", "datacontenttype": "application/json",
        "dataschema": "urn:edge-agent:schema:production.count:1.0", "data": {"epoch": EPOCH, "seq": seq, **body},
    }  # fmt: skip
    expected |= {} if order is None else {"correlationid": order}
    expected |= {} if cause is None else {"causationid": cause}
    payload = ENCODER.encode(Record(key, entry)).payload
    assert json.loads(payload) == expected


@given(st.integers(0, 4 * 10**18))
def test_instants_are_those_of_the_model(ns):
    """The fast writer of times agrees with the model's."""
    assert _instant(ns).decode() == iso(ns)


def test_attribute_names_and_sequence_keep_the_standard(record):
    """Names are lower-case letters and digits up to 20 long; sequences sort as text in the order of their numbers."""
    one, two = (json.loads(ENCODER.encode(record(n, correlation="a", causation="b")).payload) for n in (99, 100))
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in one)
    assert one["sequence"] < two["sequence"]


def test_names_with_every_kind_of_character_stay_valid():
    """Quotes, spaces and umlauts in plant names give a valid URI reference in source and valid JSON everywhere."""
    topics = Topics("edge", ('AC"ME', "Werk 1"), "gw%1")
    info = topics.unit_stream("Füller", EquipmentPath(('AC"ME', "Werk 1", "Füller")))
    encoder = Encoder({"Füller": info}, prefix="edgeagent", schema=SCHEMA, per_type=False)
    seen = json.loads(
        encoder.encode(Record(RecordKey("Füller", EPOCH, 1), Entry("Füller", "E", "edgeagent.a.b.v1", 0, 0, b"{}"))).payload
    )
    assert seen["source"] == "/AC%22ME/Werk%201/gw%251/F%C3%BCller"
    assert seen["subject"] == 'AC"ME/Werk 1/Füller'
    assert seen["data"] == {"epoch": EPOCH, "seq": 1}


@pytest.mark.parametrize(
    ("per_type", "kind", "type_", "topic", "schema"),
    [
        (False, "E", "edgeagent.state.changed.v1", f"{BASE}/_event", "urn:edge-agent:schema:state.changed:1.0"),
        (True, "E", "edgeagent.state.changed.v2", f"{BASE}/_event/state/changed", "urn:edge-agent:schema:state.changed:2.0"),
        (True, "T", "edgeagent.process.value.v1", f"{BASE}/_telemetry", "urn:edge-agent:schema:process.value:1.0"),
        (False, "T", "edgeagent.process.value.v1", f"{BASE}/_telemetry", "urn:edge-agent:schema:process.value:1.0"),
        (True, "E", "edgeagent.odd.v1", f"{BASE}/_event/odd", "urn:edge-agent:schema:odd:1.0"),
        (False, "E", "other.word", f"{BASE}/_event", "urn:edge-agent:schema:other.word:1.0"),
    ],
)
def test_topic_and_schema_follow_type_and_option(record, per_type, kind, type_, topic, schema):
    """One topic per stream keeps the order; one per type is an option for events only; telemetry has its own."""
    encoder = Encoder(STREAMS, prefix="edgeagent", schema=SCHEMA, per_type=per_type)
    message = encoder.encode(record(1, kind=kind, type=type_))
    assert message.topic == topic
    assert json.loads(message.payload)["dataschema"] == schema


def test_a_resend_differs_in_one_user_property_only(record):
    """Same topic, same bytes; ``resend`` tells a broker rule."""
    first, again = ENCODER.encode(record(5)), ENCODER.encode(record(5, resent=True))
    assert (first.topic, first.payload) == (again.topic, again.payload)
    assert again.user == (*first.user, ("resend", "1"))
    assert dict(first.user).keys() == {"type", "source", "id", "sequence"}
