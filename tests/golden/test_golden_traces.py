"""Golden traces replay byte-identically, with and without a restart after every single reading."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from golden_story import ALL, TRACES

from edge_agent.replay.derive import derive
from edge_agent.replay.line import line_in
from edge_agent.replay.recording import Recording

for _file in sorted(Path(__file__).parent.glob("traces_*.py")):
    importlib.import_module(_file.stem)

FILES = sorted(file for file in TRACES.glob("*.jsonl") if not file.name.endswith(".events.jsonl"))


def expected(file: Path) -> bytes:
    """Return what the events of a trace must be."""
    return file.with_name(f"{file.stem}.events.jsonl").read_bytes()


def test_there_are_fifty_and_each_has_its_story() -> None:
    """Every story is on disk, every file has a story, and every story says what it is about."""
    assert {file.stem for file in FILES} == set(ALL), "run `make golden`"
    assert len(FILES) >= 50
    assert all(trace.about for trace in ALL.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_trace_is_derived_byte_identically(file: Path) -> None:
    """The recording on disk gives the events on disk."""
    recording = Recording(file)
    assert b"".join(derive(line_in(recording.header.line), recording)) == expected(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_trace_is_the_same_when_restarted_after_every_reading(file: Path) -> None:
    """The stored states alone carry everything that matters from each reading to the next."""
    recording = Recording(file)
    assert b"".join(derive(line_in(recording.header.line), recording, restarts=True)) == expected(file)


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_recording_on_disk_is_what_its_story_tells(name: str) -> None:
    """Stories and recordings are in step."""
    assert (TRACES / f"{name}.jsonl").read_bytes() == ALL[name].recording(), "run `make golden`"
