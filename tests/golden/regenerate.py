"""Write the golden traces anew and show what changed, for review: ``make golden``, or ``make golden ARGS="--check"`` to write nothing.

A change of an ``.events.jsonl`` is a change of what an MES gets: commit it only together with the reason.
"""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]

from golden_story import ALL, TRACES

from edge_agent.replay.derive import derive
from edge_agent.replay.line import line_in
from edge_agent.replay.recording import Recording


def main(argv: list[str]) -> int:
    """Regenerate; return 1 with ``--check`` when something would change."""
    write = "--check" not in argv
    for file in sorted(Path(__file__).parent.glob("traces_*.py")):
        importlib.import_module(file.stem)
    TRACES.mkdir(exist_ok=True)
    changed = 0
    for name, trace in sorted(ALL.items()):
        recording = TRACES / f"{name}.jsonl"
        changed += _put(recording, trace.recording(), write=write, show=False)
        if not recording.exists():
            continue
        found = Recording(recording)
        events = b"".join(derive(line_in(found.header.line), found))
        changed += _put(TRACES / f"{name}.events.jsonl", events, write=write, show=True)
    for stale in sorted(file for file in TRACES.glob("*.jsonl") if file.name.split(".")[0] not in ALL):
        print(f"{stale.name}: has no story any more{', removed' if write else ''}")
        changed += 1
        if write:
            stale.unlink()
    print(f"{len(ALL)} golden traces, {changed} files {'written' if write else 'would change'}")
    return int(bool(changed) and not write)


def _put(file: Path, content: bytes, *, write: bool, show: bool) -> bool:
    old = file.read_bytes() if file.exists() else b""
    if old == content:
        return False
    if show and not old:
        print(f"{file.name}: new, {len(content.splitlines())} events; read it before you commit it")
    elif show:
        print("\n".join(_difference(old, content, file.name) or [f"{file.name}: only what stands in ts, or no value, changed"]))
    if write:
        file.write_bytes(content)
    return True


def _difference(old: bytes, new: bytes, name: str) -> list[str]:
    before, after = ([_short(line) for line in text.splitlines()] for text in (old, new))
    return list(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="", n=1))


def _short(line: bytes) -> str:
    """Return an event on one line, its type and time first."""
    event = json.loads(line)
    data = {key: value for key, value in event.get("data", event).items() if key != "ts" and value is not None}
    data["ctx"] = {key: value for key, value in data.get("ctx", {}).items() if value is not None}
    return f"{event.get('time', '')} {event.get('type', 'acknowledge')} {json.dumps(data, ensure_ascii=False)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
