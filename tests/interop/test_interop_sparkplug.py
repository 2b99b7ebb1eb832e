"""A recorded session of the edge node, read by two decoders of other makes: Eclipse Tahu's for JavaScript, and pysparkplug."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from sparkplug_bench import whole_session

from simulators.broker import Broker
from simulators.broker_faults import Faults
from simulators.broker_ledger import BrokerLedger
from simulators.sparkplug_check import Checker, read_recording, report
from simulators.sparkplug_wire import read

FOLDER = Path(__file__).parent
PYSPARKPLUG = FOLDER / "node_modules" / ".pysparkplug" / "bin" / "python"
_BITS = {3: 32, 4: 64}
_VERBS = {"NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "DDATA"}
pytestmark = pytest.mark.interop


async def _recorded(tmp_path, figures, **changes):
    """Record a whole session, hold it against the specification, and return its messages: verb, device, base64 payload."""
    ledger = BrokerLedger(tmp_path / "ledger.jsonl")
    broker, file = Broker(ledger, Faults()), tmp_path / "recording.jsonl"
    await broker.listen("127.0.0.1", 0)
    try:
        await whole_session(file, broker.port, **changes)
    finally:
        await broker.close()
        await ledger.close()
    lines = read_recording(file)
    checker = Checker("scada", fresh=True)
    checker.check(lines)
    assert not checker.breaches, report(checker)
    figures.append(f"{_way(changes)}: {report(checker).splitlines()[-1]} by our own checker")
    return list(_messages(lines))


def _way(changes):
    return f"Sparkplug, MQTT {changes['protocol']}, {'aliases' if changes['aliases'] else 'names'}"


def _messages(lines):
    """Yield what the node said, and its wills, which the broker says for it."""
    for line in lines:
        if line["from"] == "client" and line["what"] in {"publish", "connect"}:
            said = line["will"] if line["what"] == "connect" else line
            levels = said["topic"].split("/")
            yield levels[2], levels[4] if len(levels) > 4 else "-", said["payload64"]


def _asked(command, messages):
    told = subprocess.run(
        command,
        input="".join(" ".join(each) + "\n" for each in messages),
        text=True,
        capture_output=True,
        cwd=FOLDER,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def _sent(messages):
    """Return what a reader of our own finds: names by the births, signed numbers as such."""
    births = {}
    for verb, device, body in messages:
        payload = read(base64.b64decode(body))
        if verb.endswith("BIRTH"):
            births[device] = {key: (each.name, each.datatype) for each in payload.metrics for key in (each.name, each.alias)}
        metrics = []
        for each in payload.metrics:
            name, type_ = (each.name, each.datatype) if verb == "NDEATH" else births[device][each.name or each.alias]
            value, bits = each.value, _BITS.get(type_)
            if bits is not None and value is not None:
                value = value - (1 << bits) if value >> bits - 1 else value
            metrics.append([name, None if each.is_null else value, each.timestamp, each.is_historical])
        yield {"seq": payload.seq, "metrics": metrics}


async def _judge(command, tmp_path, figures, who, **changes):
    """Every message was read, and everything in it is what was sent."""
    messages = await _recorded(tmp_path, figures, **changes)
    found, sent = _asked(command, messages), list(_sent(messages))
    verbs = Counter(verb for verb, _, _ in messages)
    told = ", ".join(f"{count} {verb}" for verb, count in sorted(verbs.items()))
    figures.append(f"{_way(changes)}: {who} read {len(found)} of {len(sent)} messages: {told}")
    assert set(verbs) == _VERBS
    assert len(found) == len(sent)
    for message, theirs, ours in zip(messages, found, sent, strict=True):
        assert theirs == ours, message
    values = [value for each in sent for _, value, _, _ in each["metrics"]]
    assert {type(value) for value in values} == {int, float, bool, str, type(None)}
    assert any(historical for each in sent for *_, historical in each["metrics"])
    assert any(isinstance(value, int) and value < 0 for value in values)


_WAYS = [{"aliases": False, "protocol": "5"}, {"aliases": True, "protocol": "5"}, {"aliases": True, "protocol": "3.1.1"}]


@pytest.mark.parametrize("way", _WAYS, ids=str)
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(
    not (FOLDER / "node_modules" / "sparkplug-payload").exists(), reason="sparkplug-payload is not installed (make interop)"
)
async def test_tahu_reads_every_message(tmp_path, figures, way):
    """Eclipse Tahu's JavaScript decoder reads every message of a session with the values, times and numbers that were sent."""
    await _judge(["node", "sparkplug.js"], tmp_path, figures, "Eclipse Tahu", **way)


@pytest.mark.parametrize("way", _WAYS, ids=str)
@pytest.mark.skipif(not PYSPARKPLUG.exists(), reason="pysparkplug is not installed (make interop)")
async def test_pysparkplug_reads_every_message(tmp_path, figures, way):
    """Pysparkplug reads every message of a session with the values, times and numbers that were sent."""
    await _judge([str(PYSPARKPLUG), "sparkplug_py.py"], tmp_path, figures, "pysparkplug", **way)
