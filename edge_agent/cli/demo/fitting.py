"""The demo line's configuration, fitted to a scenario: registers, rates, calendar and thresholds are what a line engineer would write for that line."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_WRAPS = {2**31: "packml", 2**16: "uint16", 2**32: "uint32"}
_MODES = {"Production": 1, "Maintenance": 2, "Manual": 3}


def fitted(source: Path, folder: Path, script: Mapping[str, Any]) -> Path:
    """Copy the configuration ``source`` to ``folder`` and fit it to ``script``; return the copy. Comments and everything else stay."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    meter = script["meter"]
    change(folder / "agent.yaml", {"time_zone": script["time_zone"], "shifts": {n: dict(s) for n, s in script["shifts"].items()}})
    change(
        folder / "devices" / "meter-main.yaml",
        {"unit_id": meter["unit_id"], "tags": {"import_energy": {"scale": meter["wh_per_unit"] / 1000}}},
    )
    change(folder / "devices" / "heater.yaml", {"unit_id": script["heater"]["unit_id"]})
    change(folder / "units" / "filler.yaml", _unit(script))
    return folder


def _unit(script: Mapping[str, Any]) -> dict[str, Any]:
    counters, meter, power = script["counters"], script["meter"], script["power"]
    fastest = min([script["bottles"]["period"], *(dry["period"] for dry in script["bottles"].get("dry_cycles") or [])])
    watts = max([power["default"], power["off"], *power["states"].values()])
    rate = max(3.0, 1.5 / fastest)
    rejects = max(1.0, 1.5 / script["bottles"]["period"] / script["bottles"]["reject_every"])
    return {
        "state": {
            "micro_stop": f"{(script.get('judge') or {}).get('micro_stop', 10):g}s",
            "production_modes": [_MODES[name] for name in script["machine"].get("production_modes", ["Production"])],
        },
        "counters": {
            "total": {"wraps": wraps(counters["total"]["modulus"]), "max_rate": f"{rate:g}/s"},
            "reject": {"wraps": wraps(counters["scrap"]["modulus"]), "max_rate": f"{rejects:g}/s"},
        },
        "energy": {
            "el": {"wraps": wraps(meter["modulus"]), "max_rate": f"{max(5.0, 1.5 * watts / 3600 / meter['wh_per_unit']):g}/s"}
        },
    }


def wraps(modulus: int) -> str:
    """Return the word for a register's modulus."""
    if modulus in _WRAPS:
        return _WRAPS[modulus]
    digits = len(str(modulus)) - 1
    return f"digits:{digits}" if modulus == 10**digits else f"modulus:{modulus}"


def change(file: Path, changes: Mapping[str, Any]) -> None:
    """Put ``changes`` into a YAML file; comments and everything else stay."""
    yaml = YAML()
    yaml.width = 1000
    document = yaml.load(file.read_text(encoding="utf-8"))
    _merge(document, changes)
    with file.open("w", encoding="utf-8") as written:
        yaml.dump(document, written)


def _merge(document: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(document.get(key), Mapping) and key != "shifts":
            _merge(document[key], value)
        else:
            document[key] = value
