"""Judges every event that a test makes by the schema of its type: by a hook around folds and benches, so that no test has to ask for it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from referencing import Registry, Resource

from edge_agent.events.derive import Fold
from edge_agent.events.encode import encode
from edge_agent.events.schemas import schemas
from edge_agent.model.event import ProductionEvent


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Return what judges ``data`` of one type."""
    registry = Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in schemas().values())
    return jsonschema.Draft202012Validator(schemas()[name], registry=registry)


@contextmanager
def judged(patch: pytest.MonkeyPatch, bench: Any = None) -> Iterator[None]:
    """Judge what is folded meanwhile, also by ``bench``; raises AssertionError at the end, naming the first events that do not fit.

    What a test's own rule says is not the agent's, so folds with such a rule are left out.
    """
    wrong: list[str] = []
    known: set[Any] = set()
    fold = Fold.fold

    def folded(self: Fold, *given: Any) -> Any:
        turn = fold(self, *given)
        if _ours(self._rules):
            judge(turn.events, wrong, known)
        return turn

    patch.setattr(Fold, "fold", folded)
    if bench is not None:
        step = bench.step

        def stepped(self: Any, *given: Any) -> Any:
            events = step(self, *given)
            if _ours(self.rules):
                judge(events, wrong, known)
            return events

        patch.setattr(bench, "step", stepped)
    yield
    assert not wrong, "\n".join(wrong[:5])


def _ours(rules: Any) -> bool:
    return all(type(rule).__module__.startswith("edge_agent.") for rule in rules)


def judge(events: Any, wrong: list[str], known: set[Any]) -> None:
    """Add to ``wrong`` what of ``events`` does not fit the schema of its type; a shape in ``known`` was judged before."""
    for event in events:
        data = msgspec.json.decode(encode(event, stream="u", recorded=event.time, cfg="c").body) | {"epoch": "e", "seq": 1}
        if (shape := (event.type, _shape(data))) in known:
            continue
        known.add(shape)
        wrong += [f"{event.type}: {error.json_path}: {error.message}" for error in _errors(event, data)]


def _errors(event: ProductionEvent, data: dict[str, Any]) -> Iterator[jsonschema.ValidationError]:
    assert event.type in schemas(), f"{event.type} has no schema in edge_agent/events/schemas"
    return validator(event.type).iter_errors(data)


def judged_store(folder: Path) -> set[str]:
    """Judge every event that the buffer in ``folder`` still has, as it was published, agent's own ones included; return the types that were there.

    Raises AssertionError with the first that do not fit. The agent has ended.
    """
    with closing(sqlite3.connect(folder / "buffer.db")) as store:
        streams = [name for (name,) in store.execute("SELECT DISTINCT name FROM stream") if not name.endswith("/telemetry")]
    wrong: list[str] = []
    types: set[str] = set()
    for stream in streams:
        command = [sys.executable, "-m", "edge_agent", "buffer", "export", "--store", str(folder), "--stream", stream]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        for event in map(json.loads, told.stdout.splitlines()):
            name = event["type"].partition(".")[2].rpartition(".")[0]
            types.add(name)
            if name not in schemas() or event["dataschema"] != schemas()[name]["$id"]:
                wrong.append(f"{event['type']}: {event['dataschema']} is no schema of it")
                continue
            wrong += [f"{name}: {error.json_path}: {error.message}" for error in validator(name).iter_errors(event["data"])]
    assert not wrong, "\n".join(wrong[:5])
    assert types, "the store holds no event"
    return types


def _shape(value: Any) -> Any:
    """Return what a schema looks at: members and kinds of value; words as they are, for they may be of a list, numbers by their sign."""
    if isinstance(value, dict):
        return tuple((name, _shape(member)) for name, member in value.items())
    if isinstance(value, list):
        return len(value), tuple(dict.fromkeys(_shape(each) for each in value))
    if isinstance(value, str):
        return "time" if value[4:5] == "-" and value[-1:] == "Z" else value
    return (
        type(value) if isinstance(value, bool) or not isinstance(value, int | float) else (type(value), (value > 0) - (value < 0))
    )
