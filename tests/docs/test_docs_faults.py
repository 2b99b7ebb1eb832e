"""Every code that the program can say has an entry with cause, check and remedy, and the page of them is current."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.agent.faults import _TAG_REMEDIES
from edge_agent.cli.explain import whole_page
from edge_agent.drivers.modbus.health import KINDS
from edge_agent.drivers.opcua.expiry import CODES
from edge_agent.model.fault import explained, faults

ROOT = Path(__file__).resolve().parents[2]
_PLACES = {"warning": 0, "error": 0, "critical": 0, "DeviceFault": 2, "UntrustedError": 0, "say": 1, "reported": 0}
"""Calls that take a code, and which argument it is."""
_CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?")


def _codes() -> Iterator[str]:
    for file in sorted((ROOT / "edge_agent").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield from _of_call(node)
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                yield from (v for k, value in pairs if _text(k) == "code" and (v := _text(value)) is not None)


def _of_call(node: ast.Call) -> Iterator[str]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    at = _PLACES.get(name)
    if at is not None and len(node.args) > at:
        yield from (code for code in _constants(node.args[at]) if _CODE.fullmatch(code))
    if name == "TagStatus":
        yield from (code for each in node.keywords if each.arg == "code" for code in _constants(each.value))
        yield from (code for each in node.args[5:] for code in _constants(each))


def _constants(node: ast.AST) -> Iterator[str]:
    """Yield the texts that an expression may be: one, or the two sides of a condition."""
    for each in (
        (node.body, node.orelse) if isinstance(node, ast.IfExp) else node.values if isinstance(node, ast.BoolOp) else (node,)
    ):
        if (found := _text(each)) is not None:
            yield found


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


SAID = sorted({*_codes(), *KINDS, *CODES, *_TAG_REMEDIES})


def test_the_look_for_codes_finds_them() -> None:
    """The look itself works: codes of each kind are among what it found, else the next test would hold for nothing."""
    assert {
        "device_down",
        "tag_lost",
        "type_changed",
        "cert_changed",
        "polls_late",
        "store_damaged",
        "buffer.evicted",
        "unreachable",
    } <= {
        *SAID,
        "unreachable",
    }
    assert len(SAID) > 120


@pytest.mark.parametrize("code", SAID)
def test_every_code_is_explained(code: str) -> None:
    """Nobody at a line at night meets a code that no page knows."""
    entry = explained(code)
    assert entry is not None, f"{code} lacks an entry in edge_agent/model/faults.toml"
    for text in (entry.cause, entry.check, entry.remedy):
        assert text.endswith((".", "?"))
        assert not re.fullmatch(r"See [a-z_.]+\.", text)


def test_no_entry_refers_to_one_that_is_missing() -> None:
    """`See store_trouble.` leads somewhere."""
    words = {
        word
        for entry in faults().values()
        for text in (entry.cause, entry.check, entry.remedy)
        for word in re.findall(r"^See ([a-z_.]+)\.$", text)
    }
    assert words - faults().keys() == set()


def test_the_page_of_faults_is_current() -> None:
    """`edge-agent explain --page > docs/reference/faults.md` writes it anew."""
    assert (ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8") == whole_page()
