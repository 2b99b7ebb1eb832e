"""pysparkplug's decoder, in a Python of its own: a line is verb, device and base64 payload; the answer is what it found, as JSON."""

from __future__ import annotations

import base64
import json
import sys

import pysparkplug

KINDS = {"NBIRTH": "NBirth", "NDEATH": "NDeath", "DBIRTH": "DBirth", "DDEATH": "DDeath", "NDATA": "NData", "DDATA": "DData"}
births = {}

for line in sys.stdin:
    verb, device, body = line.split()
    kind, raw = getattr(pysparkplug, KINDS[verb]), base64.b64decode(body)
    found = kind.decode(raw, birth=births[device]) if verb.endswith("DATA") else kind.decode(raw)
    if verb.endswith("BIRTH"):
        births[device] = found
    said = [found.bd_seq_metric] if verb == "NDEATH" else getattr(found, "metrics", ())
    metrics = [[each.name, each.value, each.timestamp, bool(each.is_historical)] for each in said]
    print(json.dumps({"seq": getattr(found, "seq", None), "metrics": metrics}))
