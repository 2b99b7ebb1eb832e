"""Mistakes that only show when a whole OPC UA device is seen: each points to the line that has to change, not to the head of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config.load import InvalidConfigError, load

AGENT = """\
version: 1
agent: gw1
site: [acme]
mqtt: {broker: "mqtt://127.0.0.1", allow_insecure: true}
buffer: {path: ./buffer}
"""
HEAD = """\
version: 1
device: press
driver: opcua
url: opc.tcp://press
"""
TAGS = "namespace: urn:x\ntags:\n  a: {node: s=A}\n"
SHA = "ab" * 32
CASES = {
    "boot": (TAGS + "boot: b", "boot: b"),
    "namespace index": ("namespace: '2'\ntags:\n  a: {node: s=A}", "namespace: '2'"),
    "no namespace": ("tags:\n  a:\n    type: int32\n    node: s=A", "node: s=A"),
    "alarm called as a tag": (TAGS + "alarms:\n- name: x\n- severity_min: 2\n  name: a", "name: a"),
    "alarms without names": (TAGS + "alarms:\n- severity_min: 1\n- severity_min: 2", "- severity_min: 2"),
    "insecure password": (TAGS + "username: u\npassword: p\nallow_insecure: true", "password: ***"),
    "insecure user": (TAGS + "username: u\nallow_insecure: true", "username: u"),
    "insecure certificate": (TAGS + "allow_insecure: true\nuser_certificate: /u\nuser_key: /k", "user_certificate: /u"),
    "insecure key": (TAGS + "allow_insecure: true\nuser_key: /k", "user_key: /k"),
    "insecure and secured": (TAGS + "security:\n  mode: Sign\nallow_insecure: true", "allow_insecure: true"),
    "deprecated": (TAGS + "security:\n  mode: Sign\n  policy: Basic256", "policy: Basic256"),
    "pins of an authority": (TAGS + f"security:\n  trust: ca\n  pins:\n  - {SHA}", "pins:"),
    "expired of an authority": (TAGS + "security:\n  trust: ca\n  allow_expired: true", "allow_expired: true"),
    "uri of a pinned one": (TAGS + "security:\n  mode: Sign\n  server_uri: urn:y", "server_uri: urn:y"),
    "user without password": (TAGS + "username: u", "username: u"),
    "password without user": (TAGS + "password: u", "password: ***"),
    "certificate without key": (TAGS + "user_certificate: /u", "user_certificate: /u"),
    "key without certificate": (TAGS + "user_key: /u", "user_key: /u"),
    "two users": (TAGS + "username: u\npassword: p\nuser_certificate: /u\nuser_key: /k", "user_certificate: /u"),
    "password in the clear": (TAGS + "username: u\npassword: p\nsecurity:\n  policy: Basic256Sha256\n  mode: Sign", "mode: Sign"),
    "long password": (TAGS + f"username: u\npassword: {'p' * 129}", "password: ***"),
    "wish without tags": ("namespace: urn:x\ntags_from: {browse: 'Line/**'}", "tags_from: {browse: 'Line/**'}"),
    "events of all types": (TAGS + "alarms:\n- name: x\n  events: true", "events: true"),
    "scale 0": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    scale: 0", "scale: 0"),
    "node and path": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    path: Line/A", "path: Line/A"),
    "neither node nor path": ("namespace: urn:x\ntags:\n  a:\n    type: int32", "a:"),
    "text with a scale": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    type: string\n    deadband: 2", "deadband: 2"),
    "acknowledge without type": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    acknowledge: true", "acknowledge: true"),
    "scaled acknowledge": (
        "namespace: urn:x\ntags:\n  a:\n    node: s=A\n    acknowledge: true\n    type: int32\n    offset: 2",
        "offset: 2",
    ),
    "no such element": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    index: x", "index: x"),
    "no such elements": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    range: x", "range: x"),
    "no such field": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    index: 1\n    field: a..b", "field: a..b"),
    "elements for one": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    index: '1:2'", "index: '1:2'"),
    "index and range": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    index: 1\n    range: '1:2'", "range: '1:2'"),
    "typed range": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    range: '1:2'\n    type: int32", "type: int32"),
    "scaled range": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    range: '1:2'\n    scale: 2", "scale: 2"),
    "field with a deadband": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    field: A\n    deadband: 2", "deadband: 2"),
    "acknowledged element": (
        "namespace: urn:x\ntags:\n  a:\n    node: s=A\n    index: 1\n    acknowledge: true",
        "acknowledge: true",
    ),
    "history of an element": ("namespace: urn:x\ntags:\n  a:\n    node: s=A\n    index: 1\n    history: true", "history: true"),
}


@pytest.mark.parametrize("single", [False, True], ids=["folder", "single"])
@pytest.mark.parametrize("case", CASES)
def test_a_mistake_points_to_the_line_that_has_to_change(tmp_path: Path, case: str, single: bool) -> None:
    """In a file of its own and in a list of the main file; the message names no driver where a key is meant."""
    text, line = CASES[case]
    if single:
        device = "".join(f"  {one}\n" for one in (HEAD + text).splitlines())
        (tmp_path / "site.yaml").write_text(f"{AGENT}devices:\n- {device.lstrip()}", encoding="utf-8")
    else:
        (tmp_path / "devices").mkdir()
        (tmp_path / "agent.yaml").write_text(AGENT, encoding="utf-8")
        (tmp_path / "devices" / "press.yaml").write_text(HEAD + text + "\n", encoding="utf-8")
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path / "site.yaml" if single else tmp_path)
    (problem,) = caught.value.problems
    assert (problem.excerpt.strip(), bool(problem.remedy)) == (line, True)
    assert not problem.message.startswith("opcua:")
