"""What the edge node sends, read by two decoders of other makes: Eclipse Tahu's for JavaScript, and pysparkplug."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.publish.sparkplug.metric import Change, DataType, Metric, Sample, bare, birth, data, payload
from edge_agent.publish.sparkplug.node import death

FOLDER = Path(__file__).parent
PYSPARKPLUG = FOLDER / "node_modules" / ".pysparkplug" / "bin" / "python"
_NOW = 1_793_000_000_000_000_000
_METRICS = {
    Metric("Status/StateCurrent", DataType.INT32): -6,
    Metric("Admin/Count/total/Total", DataType.INT64, "H87"): 2**40 + 1,
    Metric("Status/CurMachSpeed", DataType.FLOAT): 1.5,
    Metric("Energy/el/Total_kWh", DataType.DOUBLE, "KWH"): 812.43,
    Metric("Status/EquipmentBlocked", DataType.BOOLEAN): True,
    Metric("Context/Order", DataType.STRING): "WO-1001 ü",
    Metric("Context/Lot", DataType.STRING): None,
}
pytestmark = pytest.mark.interop


def _messages():
    values = [(metric, Sample(value, _NOW)) for metric, value in _METRICS.items()]
    changes = [Change(metric, sample, historical=place % 2 == 0) for place, (metric, sample) in enumerate(values)]
    node = [bare("bdSeq", DataType.INT64, 0, _NOW), bare("Node Control/Rebirth", DataType.BOOLEAN, False, _NOW)]
    return [
        ("NBIRTH", payload(node, _NOW, 0)),
        ("DBIRTH", payload(birth(values, None), _NOW, 1)),
        ("DDATA", payload(data(changes, None), _NOW, 255)),
        ("DDEATH", payload([], _NOW, 0)),
        ("NDEATH", death(0, _NOW)),
    ]


def _asked(command, lines):
    told = subprocess.run(
        command, input="\n".join(lines) + "\n", text=True, capture_output=True, cwd=FOLDER, check=True, timeout=60
    )
    return [json.loads(line) for line in told.stdout.splitlines()]


def _judge(found, *, typed):
    """Every message was read, and every value is the one that was sent."""
    by_verb = dict(zip((verb for verb, _ in _messages()), found, strict=True))
    assert [by_verb[verb]["seq"] for verb in ("NBIRTH", "DBIRTH", "DDATA", "DDEATH")] == [0, 1, 255, 0]
    sent = {metric.name: value for metric, value in _METRICS.items()}
    for verb in ("DBIRTH", "DDATA"):
        values = {name: value for name, value, _ in by_verb[verb]["metrics"]}
        if (
            not typed and verb == "DDATA"
        ):  # this decoder does not remember the types of the birth: names and order are what it reads
            assert list(values) == list(_names(by_verb))
        else:
            assert values == sent
    assert sum(historical for _, _, historical in by_verb["DDATA"]["metrics"]) == 4


def _names(by_verb):
    """Return the names of the birth, the historical ones of the data first."""
    names = [name for name, _, _ in by_verb["DBIRTH"]["metrics"]]
    return names[::2] + names[1::2]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.skipif(
    not (FOLDER / "node_modules" / "sparkplug-payload").exists(), reason="sparkplug-payload is not installed (make interop)"
)
def test_tahu_reads_every_message():
    """Eclipse Tahu's JavaScript decoder reads births, data and deaths with the values that were sent."""
    _judge(_asked(["node", "sparkplug.js"], [base64.b64encode(body).decode() for _, body in _messages()]), typed=False)


@pytest.mark.skipif(not PYSPARKPLUG.exists(), reason="pysparkplug is not installed (make interop)")
def test_pysparkplug_reads_every_message():
    """Pysparkplug reads births, data and deaths with the values that were sent."""
    lines = [f"{verb} filler {base64.b64encode(body).decode()}" for verb, body in _messages()]
    _judge(_asked([str(PYSPARKPLUG), "sparkplug_py.py"], lines), typed=True)
