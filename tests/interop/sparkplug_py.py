"""pysparkplug's decoder, in a Python of its own: a line is verb, device and base64 payload; the answer is what it found, as JSON."""

from __future__ import annotations

import base64
import json
import sys

import pysparkplug

KINDS = {"NBIRTH": "NBirth", "NDEATH": "NDeath", "DBIRTH": "DBirth", "DDEATH": "DDeath", "DDATA": "DData"}
births = {}

for line in sys.stdin:
    verb, device, body = line.split()
    kind, raw = getattr(pysparkplug, KINDS[verb]), base64.b64decode(body)
    found = kind.decode(raw, birth=births[device]) if verb == "DDATA" else kind.decode(raw)
    if verb == "DBIRTH":
        births[device] = found
    metrics = [[each.name, each.value, bool(each.is_historical)] for each in getattr(found, "metrics", ())]
    print(json.dumps({"seq": getattr(found, "seq", None), "metrics": metrics}))
