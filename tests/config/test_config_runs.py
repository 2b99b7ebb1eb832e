"""Long lists of tags are read line by line, and nobody can tell: data, places and problems are those of the parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config import runs, source

MANY = 30
TAGS = "\n".join(f'  t{number}: {{node: "s=Line.T{number}", type: float32, scale: 0.{number}1}}' for number in range(MANY))
ITEMS = "\n".join(f"    - plc.t{number}" for number in range(MANY))


def _read(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, shortest: int) -> object:
    monkeypatch.setattr(runs, "SHORTEST", shortest)
    file = folder / "file.yaml"
    file.write_text(text, encoding="utf-8")
    found = source.read(file)
    return repr(found.data), found.keys, found.values, [(p.line, p.column, p.message, p.remedy) for p in found.problems]


TEXTS = {
    "tags": f"version: 1\ntags:\n{TAGS}\nafter: 1\n",
    "items": f"telemetry:\n  tags:\n{ITEMS}\n  publish: 1s\n",
    "items at the key's column": "tags:\n" + "\n".join(f"- plc.t{number}" for number in range(MANY)) + "\nlast: {a: 1}\n",
    "comments": "tags:\n" + TAGS.replace("}\n", "}   # a comment: {x: 1}\n") + "\n",
    "one that is not so simple": f"tags:\n{TAGS}\n  odd: {{names: {{0: off, 1: on}}}}\n{TAGS.replace(' t', ' u')}\n",
    "a name twice": f"tags:\n{TAGS}\n{TAGS}\n",
    "a name twice, apart": f"tags:\n{TAGS}\n  x: 1\n{TAGS}\n",
    "a name twice, before": f"tags:\n  t7: 1\n{TAGS}\n",
    "a key twice in braces": "tags:\n" + TAGS.replace("type: float32", "node: float32") + "\n",
    "text in a block": f"description: |\n{TAGS}\nafter: 1\n",
    "text in quotes": f'description: "\n{TAGS.replace(chr(34), chr(39))}\n"\nafter: 1\n',
    "an item that goes on": f"tags:\n{ITEMS}\n      and more\nafter: 1\n",
    "an item that goes on under another": f"tags:\n{ITEMS}\n      and more\n{ITEMS}\n",
    "words that are no text": "tags:\n" + "\n".join(f"  - {word}" for word in ["true", "null", "no", "y", "off"] * 8) + "\n",
    "values of every kind": "tags:\n"
    + "\n".join(f"  k{n}: {{a: true, b: 010, c: -5, d: 1e3, e: null, f: 0x1F, g: no, h: x-y, i: 1.5.2}}" for n in range(MANY)),
    "deeper without a reason": f"tags:\n{TAGS}\n      x: 1\n",
    "less deep": f"tags:\n{TAGS}\n x: 1\n",
    "substituted": "tags:\n" + TAGS.replace("s=Line", "${NO_SUCH_VARIABLE}") + "\n",
    "carriage returns": f"tags:\n{TAGS}\n".replace("\n", "\r\n"),
    "another line break": f"a: 'x\u2028y'\ntags:\n{TAGS}\n",
    "a tab": f"tags:\n{TAGS}\n\tx: 1\n",
    "anchored": f"tags: &here\n{TAGS}\n",
    "in a list": "tags:\n" + "\n".join(f"  - t{number}: {{a: 1}}" for number in range(MANY)),
    "at the top": TAGS.replace("  t", "t") + "\n",
    "nothing behind": f"tags:\n{TAGS}",
    "documents": f"tags:\n{TAGS}\n---\ntags:\n{TAGS}\n",
    "open braces before": f"tags: {{\n{TAGS},\n}}\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_config_runs_are_read_as_the_parser_reads_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data in its order, places of keys and values, and problems with their words are the same with and without runs."""
    by_line = _read(TEXTS[name], tmp_path, monkeypatch, 20)
    assert by_line == _read(TEXTS[name], tmp_path, monkeypatch, 1_000_000)


def test_config_runs_spare_the_parser() -> None:
    """Of a long list the parser sees the first and the last line, and as many lines as there were."""
    left = runs.Runs(TEXTS["tags"]).text
    assert left.count("\n") == TEXTS["tags"].count("\n")
    assert left.count("node") == 2


LINES = st.sampled_from([
    "tags:", "  a: {x: 1}", '  b: {x: 1, y: "q"}', "  c: {x: 1}", "  - a.b", "  - c", "    d: {e: f}", "text: |", "- a", "- b", "", "# note",
    "  e: 5", "      more", "  f: {g: [1]}", "x: {y: z}", "z: {y: z}  # c", "  'q': {x: 1}", "  - {a: b}", "  - - k", "key: 'open", "end'",
])  # fmt: skip


@given(st.lists(LINES, max_size=14))
@settings(max_examples=300, deadline=None)
def test_config_runs_change_no_file(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Whatever lines stand below each other, and however short a run may be, the file says the same."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.getbasetemp()
        assert _read("\n".join(lines), folder, patch, 2) == _read("\n".join(lines), folder, patch, 1_000_000)
